// SPDX-License-Identifier: Apache-2.0

// Package observe makes what programs tell about themselves: their logs.
//
// It must not know what they do.
package observe

import (
	"fmt"
	"log/slog"
	"os"
)

// NewLogger returns a logger of JSON lines on standard error at a level: debug, info, warn
// or error. An error names the flag --log-level.
func NewLogger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level is %q, want debug, info, warn or error", level)
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: l})), nil
}
