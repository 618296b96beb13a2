// SPDX-License-Identifier: Apache-2.0

// Command fairlead-agent serves a node. It is a program of its own because it runs on
// every node: linked with the operator's and controller's dependencies it takes twice the
// memory.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/fairlead-io/fairlead/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := newAgentCommand()
	cmd.Version, cmd.SilenceUsage, cmd.SilenceErrors = version.Version, true, true
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "fairlead-agent:", err)
		stop()
		os.Exit(1)
	}
}
