// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/fairlead-io/fairlead/test/reach"
)

// reachServer is the far end of watched paths, at all addresses and the given ports, until the
// process is killed.
func reachServer(args []string) error {
	if len(args) == 0 {
		return errors.New("probe reach-server: give one port or more")
	}
	for _, a := range args {
		port, err := strconv.Atoi(a)
		if err != nil {
			return fmt.Errorf("probe reach-server: port %q: %w", a, err)
		}
		if _, err := reach.Serve(context.Background(), port); err != nil {
			return err
		}
	}
	select {}
}

// watch prints changes, a line each, until its standard input ends.
func watch(args []string) error {
	if len(args) != 1 {
		return errors.New("probe reach: give what to watch as JSON")
	}
	var cfg reach.Config
	if err := json.Unmarshal([]byte(args[0]), &cfg); err != nil {
		return fmt.Errorf("probe reach: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // However it ends, the watch does.
		cancel()
	}()
	out := json.NewEncoder(os.Stdout)
	return reach.Watch(ctx, cfg, func(c reach.Change) { _ = out.Encode(c) }) // Without a reader, standard input ends, too.
}

// seen prints what the server at a port of this host has seen.
func seen(args []string) error {
	if len(args) != 1 {
		return errors.New("probe reach-seen: give the server's port")
	}
	port, err := strconv.Atoi(args[0])
	if err != nil {
		return fmt.Errorf("probe reach-seen: port %q: %w", args[0], err)
	}
	s, err := reach.Ask(context.Background(), port)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}
