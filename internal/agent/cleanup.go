// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/fairlead-io/fairlead/internal/agent/node"
	"github.com/fairlead-io/fairlead/internal/agent/turn"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// CleanupConfig is what the cleaning of a node is told by its command line.
type CleanupConfig struct {
	// HostRoot is where the node's root folder is mounted; the folders below are
	// paths on the node.
	HostRoot      string
	StateDir      string
	RunDir        string
	CNIBinDir     string
	CNIConfDir    string
	BPFFS         string // as this process sees it
	HealthAddress string
}

// cleanupRetry is the pause between two attempts to clean the node.
const cleanupRetry = 2 * time.Second

// RunCleanup removes everything of Fairlead's from the node, then reports ready,
// and stays so until the context ends: the operator waits for all nodes to be
// ready before it uninstalls what runs this.
func RunCleanup(ctx context.Context, cfg CleanupConfig, log *slog.Logger) error {
	// An agent that runs would make anew what is removed.
	hold, err := turn.Place(filepath.Join(cfg.HostRoot, cfg.RunDir)).Await(ctx)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer hold.Release()
	listening, err := listenHealth(ctx, cfg.HealthAddress)
	if err != nil {
		return err
	}
	var done atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !done.Load() {
			http.Error(w, "the node is being cleaned", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok") //nolint:errcheck // the client left
	})
	served := make(chan error, 1)
	go func() { served <- serveHTTP(ctx, listening, mux) }()
	for ctx.Err() == nil {
		err := Cleanup(ctx, cfg, log)
		if err == nil {
			log.Info("the node is clean")
			done.Store(true)
			break
		}
		log.Error("the node could not be cleaned; trying again", "error", err, "in", cleanupRetry)
		sleep(ctx, cleanupRetry)
	}
	return <-served
}

// Cleanup removes, in this order: the CNI configuration, so that no new pod is
// sent here; every program, map, link, device, route and rule; the plugin; the
// files. It can be repeated.
func Cleanup(ctx context.Context, cfg CleanupConfig, log *slog.Logger) error {
	host := func(path string) string { return filepath.Join(cfg.HostRoot, path) }
	plugin := host(filepath.Join(cfg.CNIBinDir, pluginName))
	return errors.Join(
		node.RemoveConf(host(cfg.CNIConfDir)),
		datapath.Cleanup(ctx, datapath.Options{BPFFS: cfg.BPFFS, Log: log}),
		removeFile(plugin), removeFile(plugin+".new"),
		removeResults(host(resultsDir)),
		os.RemoveAll(host(cfg.StateDir)),
		os.RemoveAll(host(cfg.RunDir)),
	)
}

// resultsDir is where the CNI library keeps, for the runtime, the result of each ADD.
const resultsDir = "/var/lib/cni/results"

// removeResults removes the results of our network: what they describe is gone.
func removeResults(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, node.Network+"-*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		errs = append(errs, removeFile(f))
	}
	return errors.Join(errs...)
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
