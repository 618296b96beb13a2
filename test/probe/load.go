// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/fairlead-io/fairlead/test/continuity"
)

// loadServer is the far end of loads, at all addresses, until the process is killed.
func loadServer(args []string) error {
	if len(args) != 1 {
		return errors.New("probe load-server: give the port, and nothing else")
	}
	at, err := netip.ParseAddrPort(net.JoinHostPort("::", args[0]))
	if err != nil {
		return fmt.Errorf("probe load-server: %w", err)
	}
	if _, err := continuity.Serve(context.Background(), at); err != nil {
		return err
	}
	select {}
}

// load is the near end of one, commanded by standard input.
func load(args []string) error {
	if len(args) != 2 {
		return errors.New("probe load: give the server's address and port, and the load as JSON")
	}
	server, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return fmt.Errorf("probe load: %w", err)
	}
	var cfg continuity.Config
	if err := json.Unmarshal([]byte(args[1]), &cfg); err != nil {
		return fmt.Errorf("probe load: %w", err)
	}
	return continuity.Obey(os.Stdin, os.Stdout, server, cfg)
}
