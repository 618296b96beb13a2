// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
)

// ErrNotSupported is wrapped by what Probe returns when this machine cannot run the
// datapath.
var ErrNotSupported = errors.New("not supported by this machine")

// ErrClosed is returned by the methods of a Datapath after Close.
var ErrClosed = errors.New("the datapath is closed")

// UnsupportedError names one thing that the machine lacks.
type UnsupportedError struct {
	Feature string // what is missing
	Found   string // what is there instead
	Needed  string // what would do, and how to get it
}

// Error implements error.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s: found %s, needed %s: %v", e.Feature, e.Found, e.Needed, ErrNotSupported)
}

// Unwrap returns ErrNotSupported.
func (e *UnsupportedError) Unwrap() error { return ErrNotSupported }
