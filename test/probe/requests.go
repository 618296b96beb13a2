// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fairlead-io/fairlead/test/requests"
)

// lameDuck is longer than the cluster takes to learn that a pod ends.
const lameDuck = 4 * time.Second

// requestServer is "probe request-server PORT".
func requestServer(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: probe request-server PORT")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	return requests.Serve(ctx, ":"+args[0], name, lameDuck)
}

// request is "probe request JSON-CONFIG": it sends requests until its standard input ends,
// and prints what came of them.
func request(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: probe request JSON-CONFIG")
	}
	var cfg requests.Config
	if err := json.Unmarshal([]byte(args[0]), &cfg); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		defer stop()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	result, err := requests.Run(ctx, cfg)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}
