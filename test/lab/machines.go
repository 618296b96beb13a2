// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/test/lab/fleet"
	"github.com/fairlead-io/fairlead/test/lab/kube"
	"github.com/fairlead-io/fairlead/test/lab/node"
	"github.com/fairlead-io/fairlead/test/lab/plan"
	"github.com/fairlead-io/fairlead/test/lab/wire"
)

// ensureMachines boots every machine that does not run, control planes first.
func (l *Lab) ensureMachines(ctx context.Context) (map[string]kube.Credentials, error) {
	all := map[string]kube.Credentials{}
	services := map[string][]node.Service{}
	snapshotter := l.snapshotter()
	for _, c := range l.Plan.Clusters {
		s, credentials, err := l.controlPlane(c)
		if err != nil {
			return nil, err
		}
		all[c.Name], services[c.ControlPlane.Name] = credentials, s
		for _, n := range c.Nodes {
			if services[n.Name], err = kube.Worker(c, n, credentials.CA, snapshotter); err != nil {
				return nil, fmt.Errorf("%s: %w", n.Name, err)
			}
		}
	}
	boot := func(what string, pick func(plan.Cluster) []plan.Machine) error {
		return l.Progress.Step(what, func() error {
			var group errgroup.Group
			for _, c := range l.Plan.Clusters {
				for _, m := range pick(c) {
					group.Go(func() error { return l.ensureMachine(c, m, services[m.Name]) })
				}
			}
			return group.Wait()
		})
	}
	if err := boot("boot the control planes", func(c plan.Cluster) []plan.Machine { return []plan.Machine{c.ControlPlane} }); err != nil {
		return nil, err
	}
	return all, boot("boot the nodes", func(c plan.Cluster) []plan.Machine { return c.Nodes })
}

// controlPlane is what runs on a cluster's control plane.
func (l *Lab) controlPlane(c plan.Cluster) ([]node.Service, kube.Credentials, error) {
	services, credentials, err := kube.ControlPlane(c)
	if err != nil || !c.Hub || !l.Plan.CAPI {
		return services, credentials, err
	}
	core, _, err := kube.ClusterAPI(c, credentials)
	return append(services, core), credentials, err
}

func (l *Lab) ensureMachine(c plan.Cluster, m plan.Machine, services []node.Service) error {
	release, err := l.power(m)
	if err != nil {
		return err
	}
	defer release()
	if c.Born {
		if gone, err := l.gone(m); gone || err != nil {
			return err
		}
	}
	spec := l.spec(m, services)
	if l.runs(m) && (!c.Born || startedWith(spec)) {
		return nil
	}
	if err := l.stop(m); err != nil { // What a kill has left.
		return err
	}
	if err := l.plug(c, m); err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	if err := node.Start(spec); err != nil {
		return err
	}
	return unmark(m)
}

func (l *Lab) runs(m plan.Machine) bool {
	return node.InitPID(m.Dir).Alive() != 0 && wire.Exists(m.Netns)
}

// startedWith says whether a machine was started with the version that it is to have.
func startedWith(s node.Spec) bool {
	saved, err := node.Saved(s.Dir)
	return err == nil && saved.Bin == s.Bin
}

// Kill takes a machine's power away. Its disk stays.
func (l *Lab) Kill(name string) error {
	m, err := l.Plan.Machine(name)
	if err != nil {
		return err
	}
	release, err := l.power(m)
	if err != nil {
		return err
	}
	defer release()
	if err := mark(m); err != nil {
		return err
	}
	return l.stop(m)
}

func (l *Lab) stop(m plan.Machine) error {
	if err := node.Stop(l.spec(m, nil), l.layout); err != nil {
		return err
	}
	return wire.Unplug(l.Plan.Router, m.Cable)
}

// Start boots a machine that was killed. It returns when a node's services are started, not when they
// are ready; a control plane's API server is ready, and the hub's Cluster API is, too.
func (l *Lab) Start(ctx context.Context, name string) error {
	m, err := l.Plan.Machine(name)
	if err != nil {
		return err
	}
	c, err := l.Plan.Cluster(m.Cluster)
	if err != nil {
		return err
	}
	services, credentials, err := l.controlPlane(c)
	if err == nil && !m.Control {
		services, err = kube.Worker(c, m, credentials.CA, l.snapshotter())
	}
	if err != nil {
		return err
	}
	if err := l.ensureMachine(c, m, services); err != nil || !m.Control {
		return err
	}
	path := l.Plan.Kubeconfig(c.Name)
	if err := l.explain(fleet.WaitReady(ctx, path, apiPatience), m); err != nil {
		return err
	}
	client, err := fleet.NewClient(path)
	if err != nil {
		return err
	}
	if c.Hub && l.Plan.CAPI {
		limited, cancel := context.WithTimeout(ctx, apiPatience)
		defer cancel()
		if err := l.clusterAPI(limited, c, client); err != nil {
			return l.explain(err, m)
		}
	}
	_, err = l.routeToPods(ctx, c, client)
	return err
}

// snapshotter is overlayfs unless the lab's directory is on a file system that cannot carry it.
func (l *Lab) snapshotter() string {
	base := filepath.Join(l.Plan.Dir, "overlay-probe")
	defer os.RemoveAll(base)
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(base, d), 0o755); err != nil {
			return "native"
		}
	}
	options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", base)
	merged := filepath.Join(base, "merged")
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		return "native"
	}
	_ = unix.Unmount(merged, unix.MNT_DETACH)
	return "overlayfs"
}
