// SPDX-License-Identifier: Apache-2.0

package topo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// flannelWait bounds how long flannel may take to be ready; what it is waited for is
// looked at every flannelLook.
const (
	flannelWait = 30 * time.Second
	flannelLook = 20 * time.Millisecond
)

const flannelStore = "http://192.168.100.254:2379"

// buildFlannel runs flannel's VXLAN backend on two nodes, an etcd on the underlay between
// them, and a bridge with a pod in the range that flannel gave each node.
func (w *World) buildFlannel(ctx context.Context) (*Pair, error) {
	if w.flannel == "" {
		return nil, errors.New("its program is missing: build test/bench/flannel and name it with -flannel")
	}
	ctx, cancel := context.WithTimeout(ctx, flannelWait)
	defer cancel()
	dir := filepath.Join(w.dir, "flannel")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	store, err := w.daemon(w.underlay, "store", "-store", flannelStore, "-dir", filepath.Join(dir, "etcd"), "-network", "10.244.0.0/16", "-file", filepath.Join(dir, "store"))
	if err != nil {
		return nil, err
	}
	if _, err := store.await(ctx, filepath.Join(dir, "store")); err != nil {
		return nil, err
	}
	var nodes [2]*node
	var pods [2]*Space
	for i := range nodes {
		if nodes[i], pods[i], err = w.flannelNode(ctx, dir, i); err != nil {
			return nil, err
		}
	}
	for i, n := range nodes {
		if err := n.awaitRoute(ctx, nodes[1-i].range4); err != nil {
			return nil, err
		}
	}
	return &Pair{Client: pods[0], Server: pods[1], Server4: nth(nodes[1].range4, 2), carry: tunnelled, port: nodes[0].uplinkPort}, nil
}

// flannelNode starts the daemon on a node and makes a pod in the range that it was given.
func (w *World) flannelNode(ctx context.Context, dir string, i int) (*node, *Space, error) {
	n, err := w.node(i + 1)
	if err != nil {
		return nil, nil, err
	}
	file := filepath.Join(dir, n.name+".env")
	d, err := w.daemon(n.Space, "node", "-store", flannelStore, "-iface", "eth0", "-file", file)
	if err != nil {
		return nil, nil, err
	}
	env, err := d.await(ctx, file)
	if err != nil {
		return nil, nil, err
	}
	if n.range4, err = subnetIn(env); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := n.podBridge(); err != nil {
		return nil, nil, err
	}
	pod, err := w.bridgePod(n, 2, tunnelMTU)
	return n, pod, err
}

// subnetIn returns the range that flannel wrote down for its node.
func subnetIn(env []byte) (netip.Prefix, error) {
	for line := range strings.Lines(string(env)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "FLANNEL_SUBNET="); ok {
			p, err := netip.ParsePrefix(value)
			return p.Masked(), err
		}
	}
	return netip.Prefix{}, fmt.Errorf("no FLANNEL_SUBNET in %q", env)
}

// awaitRoute waits until the node has a route to a range.
func (n *node) awaitRoute(ctx context.Context, to netip.Prefix) error {
	for {
		routes, err := n.nl.RouteList(nil, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, r := range routes {
			if r.Dst != nil && r.Dst.String() == to.String() {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s got no route to %s: %w", n.name, to, ctx.Err())
		case <-time.After(flannelLook):
		}
	}
}

// daemon is a running program of flannel's. It ends with the world.
type daemon struct {
	what   string
	stderr bytes.Buffer // to be read after ended
	ended  chan struct{}
}

func (w *World) daemon(in *Space, args ...string) (*daemon, error) {
	cmd := exec.Command(w.flannel, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	d := &daemon{what: "flannel " + args[0], ended: make(chan struct{})}
	cmd.Stderr = &d.stderr
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: a process dies with the thread that started it
		defer close(d.ended)
		err := unix.Setns(in.FD(), unix.CLONE_NEWNET)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is killed in the end
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", d.what, err)
	}
	w.onClose(func() error {
		_ = cmd.Process.Kill() // it may have ended by itself
		<-d.ended
		return nil
	})
	return d, nil
}

// await waits for a file that the daemon writes, and returns what is in it.
func (d *daemon) await(ctx context.Context, file string) ([]byte, error) {
	for {
		if b, err := os.ReadFile(file); err == nil && len(b) > 0 {
			return b, nil
		}
		select {
		case <-d.ended:
			return nil, fmt.Errorf("%s ended: %s", d.what, strings.TrimSpace(d.stderr.String()))
		case <-ctx.Done():
			return nil, fmt.Errorf("%s did not write %s: %w", d.what, file, ctx.Err())
		case <-time.After(flannelLook):
		}
	}
}
