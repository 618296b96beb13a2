// SPDX-License-Identifier: Apache-2.0

// Package kubeproxy removes from a node what a kube-proxy that no longer runs has left
// there: the tables of its nftables mode, and its chains in the tables that iptables keeps
// in nftables. What the kubelet and others have beside them stays.
//
// Connections that kube-proxy translated go on. The kernel translates what it knows of a
// connection without asking rules again, as long as somebody has a chain of type nat in
// the namespace; package masquerade always has one.
//
// Rules of legacy iptables and of IPVS are found and reported, and left: the former belong
// to a program that this package does without, and without the latter the connections
// through them would end.
//
// It must not be asked to remove anything before others have taken over.
package kubeproxy

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/fairlead-io/fairlead/internal/datapath/netns"
)

// interval is how often the node is looked at: kube-proxy ends when somebody removes it.
const interval = time.Minute

// Run looks at the node once a minute, from the moment that inForce is closed (Services
// are balanced without kube-proxy), and removes what kube-proxy has left once it does not
// run any more. It returns when ctx ends.
func Run(ctx context.Context, ns *netns.NS, inForce <-chan struct{}, log *slog.Logger) error {
	select {
	case <-ctx.Done():
		return nil
	case <-inForce:
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	k := keeper{ns: ns, log: log}
	for {
		k.look()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// keeper says each thing once.
type keeper struct {
	ns      *netns.NS
	log     *slog.Logger
	removed bool // something, in an earlier look
	waits   bool
	left    []string
}

func (k *keeper) look() {
	running, err := Running(k.ns)
	if err != nil {
		k.log.Warn("whether kube-proxy runs on this node is not known", "error", err)
		return
	}
	if running {
		if !k.waits {
			k.log.Info("kube-proxy still runs on this node; its rules stay until it has ended", "port", healthPort)
		}
		k.waits = true
		return
	}
	k.waits = false
	removed, err := Remove(k.ns)
	switch {
	case removed.Empty():
	case k.removed:
		k.log.Warn("what kube-proxy had left on this node was there again and is removed; does another kube-proxy run, without its health port?", "removed", removed)
	default:
		k.log.Info("what kube-proxy had left on this node is removed; its connections go on", "removed", removed)
	}
	k.removed = k.removed || !removed.Empty()
	if err != nil {
		k.log.Warn("not all that kube-proxy has left on this node could be removed; it is tried again", "error", err)
	}
	left := Leftovers(k.ns)
	if len(left) > 0 && !slices.Equal(left, k.left) {
		k.log.Warn("kube-proxy has left something on this node that is not removed; it does no harm while Services are balanced here, and is gone after a reboot", "left", left)
	}
	k.left = left
}
