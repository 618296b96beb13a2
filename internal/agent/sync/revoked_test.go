// SPDX-License-Identifier: Apache-2.0

package sync_test

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fairlead-io/fairlead/internal/agent/sync"
)

// TestAnAgentOfARevokedCluster is cut off while its controller knows nothing yet, keeps
// what it has, and comes back with a certificate of the new CA.
func TestAnAgentOfARevokedCluster(t *testing.T) {
	o, c, quiet := newOperator(t, 1, 1), newCluster(t), slog.New(slog.DiscardHandler)
	var done, failed atomic.Int64
	r := c.replica(o.controllers[0], &done, &failed, quiet)
	cfg := configOf(t, nodeName, o.nodes[0], quiet)
	n := newNode()
	client, stop := start(t, cfg, n, r.address)
	t.Cleanup(func() { stop() })
	has := func(client *sync.Client) bool { return len(client.Current().Peers) == 1 }
	eventually(t, "the agent has its state", func() bool { return client.Status().Connected && has(client) })

	o.revoke()
	o.toNode(o.nodes[0])
	eventually(t, "the agent has left its controller", func() bool {
		return !client.Status().Connected && strings.Contains(client.Status().LastError, "was revoked")
	})
	eventually(t, "the controller has lost its subscriber", func() bool { return r.subscribers() == 0 })
	attempts := done.Load() + failed.Load()
	eventually(t, "it tries again", func() bool { return done.Load()+failed.Load() > attempts+2 })
	if client.Status().Connected || r.subscribers() != 0 || !has(client) {
		t.Errorf("it is %+v, and the state is %+v", client.Status(), client.Current())
	}
	if u, _ := n.get(); len(u.Peers) != 1 {
		t.Errorf("the node was told something else: %+v", u)
	}
	stop()
	client, stop = start(t, cfg, newNode(), r.address)
	if !has(client) {
		t.Error("a restart loses the state")
	}
	eventually(t, "it is refused after a restart, too", func() bool { return strings.Contains(client.Status().LastError, "was revoked") })

	t.Log("the cluster is taken back")
	o.decide()
	o.toNode(o.nodes[0])
	o.toController(o.controllers[0])
	eventually(t, "the agent follows its controller again", func() bool { return client.Status().Connected && r.subscribers() == 1 })
}

// TestAControllerOfARevokedCluster learns of it before its agents do.
func TestAControllerOfARevokedCluster(t *testing.T) {
	o, c, quiet := newOperator(t, 1, 1), newCluster(t), slog.New(slog.DiscardHandler)
	var done, failed atomic.Int64
	r := c.replica(o.controllers[0], &done, &failed, quiet)
	client, stop := start(t, configOf(t, nodeName, o.nodes[0], quiet), newNode(), r.address)
	t.Cleanup(stop)
	eventually(t, "the agent is connected", func() bool { return client.Status().Connected && r.subscribers() == 1 })

	o.revoke()
	o.toController(o.controllers[0])
	eventually(t, "the stream is closed", func() bool { return !client.Status().Connected && r.subscribers() == 0 })
	refused := failed.Load()
	eventually(t, "it is refused", func() bool { return failed.Load() > refused+2 })
	if client.Status().Connected {
		t.Error("it is connected")
	}
	o.decide()
	o.toController(o.controllers[0])
	eventually(t, "the agent, which knows of nothing, is taken back", func() bool { return client.Status().Connected })
}
