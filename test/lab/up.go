// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-io/fairlead/test/lab/build"
	"github.com/fairlead-io/fairlead/test/lab/hostlimit"
	"github.com/fairlead-io/fairlead/test/lab/plan"
)

// How long the parts of a lab may take on a slow and loaded host.
const (
	apiPatience  = 2 * time.Minute
	nodePatience = 2 * time.Minute
)

// Up brings the lab to the state that the settings describe, from whatever state it is in.
func (l *Lab) Up(ctx context.Context) error {
	if err := build.CheckHost(); err != nil {
		return err
	}
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.remember(); err != nil {
		return err
	}
	if err := l.Builder.All(ctx); err != nil {
		return err
	}
	if err := l.addBirths(); err != nil { // Clusters that Cluster API had made before a crash.
		return err
	}
	if err := hostlimit.Inotify().Raise(l.Plan.ID); err != nil {
		// A host whose /proc/sys is read-only, most likely. A small lab does without.
		l.Progress.Printf("  note: %v; should kubelets fail with \"too many open files\": sysctl -w fs.inotify.max_user_instances=1024", err)
	}
	if err := l.Progress.Step("network: router, bridges, outside host", l.ensureNetwork); err != nil {
		return err
	}
	credentials, err := l.ensureMachines(ctx)
	if err != nil {
		return err
	}
	if err := l.Progress.Step("supervisor: API servers on 127.0.0.1, outside host", l.ensureSupervisor); err != nil {
		return err
	}
	kubeconfigs, err := l.writeKubeconfigs(credentials)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return l.Progress.Step("images on every node", func() error { return l.loadAll(ctx, l.Builder.Images()) })
	})
	for _, c := range l.Plan.Clusters {
		group.Go(func() error { return l.furnish(ctx, c, kubeconfigs) })
	}
	return group.Wait()
}

// Down ends everything of the lab and removes its directory.
func (l *Lab) Down(keepLogs bool) error {
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.Progress.Step("kill every process of the lab", func() error {
		return l.layout.Destroy(l.Plan.Cgroup, time.Minute)
	}); err != nil {
		return err
	}
	if err := l.Progress.Step("remove its network", l.removeNetwork); err != nil {
		return err
	}
	if err := hostlimit.Inotify().Release(l.Plan.ID); err != nil {
		return err
	}
	return l.Progress.Step("remove its files", func() error { return l.removeFiles(keepLogs) })
}

func (l *Lab) removeFiles(keepLogs bool) error {
	if !keepLogs {
		return os.RemoveAll(l.Plan.Dir)
	}
	entries, err := os.ReadDir(l.Plan.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "logs" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(l.Plan.Dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) workloads() []plan.Cluster { return l.Plan.Clusters[1:] }
