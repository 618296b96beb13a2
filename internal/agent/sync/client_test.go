// SPDX-License-Identifier: Apache-2.0

package sync_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

// content is the state of a small cluster.
func content(t *testing.T) []state.Resource {
	return []state.Resource{
		localNode(t, "10.0.1.0/24"), peer(t, "n1", "10.0.1.0/24"), peer(t, "n2", "10.0.2.0/24"),
		endpoint(t, "a"), endpoint(t, "b"),
	}
}

func complete(u sync.Update) bool {
	return u.Known.All() && u.LocalNode != nil && len(u.Peers) == 2 && len(u.Endpoints) == 2
}

func TestFirstStart(t *testing.T) {
	c := newCluster(t)
	ctl := c.controller(clusterName, "127.0.0.1:0")
	ctl.fill(content(t)...)
	n := newNode()
	dir := t.TempDir()
	a := c.agent(dir, n, ctl.address)
	u := a.until("a complete state", complete)
	if got := u.LocalNode.GetPodCidrs()[0]; got != "10.0.1.0/24" {
		t.Errorf("podCIDR %s", got)
	}
	for _, f := range []string{"client.key", "client.crt"} {
		info, err := os.Stat(filepath.Join(dir, "state", f))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", f, info, err)
		}
	}
	eventually(t, "the server counts it as in sync", func() bool {
		s := ctl.server.Statuses()
		return len(s) == 1 && s[0].Synced() && s[0].AgentVersion == "v1"
	})
	if s := a.client.Status(); !s.Connected || s.Controller != ctl.address || s.LastError != "" {
		t.Errorf("status %+v", s)
	}
	ctl.fill(localNode(t, "10.0.1.0/24"), peer(t, "n1", "10.0.1.0/24"), endpoint(t, "a"))
	a.until("what is left", func(u sync.Update) bool { return len(u.Peers) == 1 && len(u.Endpoints) == 1 })
}

// The controllers are killed one after the other; what is unchanged is not sent again.
func TestFailoverResendsNothing(t *testing.T) {
	c := newCluster(t)
	one, two := c.controller(clusterName, "127.0.0.1:0"), c.controller(clusterName, "127.0.0.1:0")
	one.fill(content(t)...)
	two.fill(content(t)...)
	n := newNode()
	a := c.agent(t.TempDir(), n, one.address, two.address)
	a.until("a complete state", complete)
	first, second := one, two
	if one.subscribers() == 0 {
		first, second = two, one
	}
	eventually(t, "in sync", func() bool { s := first.server.Statuses(); return len(s) == 1 && s[0].Synced() })
	if got := first.sent(); got != 5 {
		t.Errorf("the first replica sent %d resources, want 5", got)
	}
	_, applied := n.get()

	start := time.Now()
	first.kill()
	eventually(t, "in sync with the other replica", func() bool { s := second.server.Statuses(); return len(s) == 1 && s[0].Synced() })
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("the failover took %v", d)
	}
	if got := second.sent(); got != 0 {
		t.Errorf("the second replica sent %d resources again, want 0", got)
	}
	if _, now := n.get(); now != applied {
		t.Errorf("the node applied %d times, for nothing", now-applied)
	}

	// A replica comes back and the other one dies: only what changed is sent.
	again := c.controller(clusterName, first.address)
	changed := content(t)
	changed[2] = peer(t, "n2", "10.0.22.0/24")
	again.fill(changed...)
	second.kill()
	a.until("the change", func(u sync.Update) bool { return u.Peers["n2"].GetPodCidrs()[0] == "10.0.22.0/24" })
	if got := again.sent(); got != 1 {
		t.Errorf("the replica that came back sent %d resources, want 1", got)
	}
}

// TestLittleRoomIsTold: with the next acknowledgement, and to each controller that comes after.
func TestLittleRoomIsTold(t *testing.T) {
	c := newCluster(t)
	one := c.controller(clusterName, "127.0.0.1:0")
	resources := content(t)
	one.fill(resources...)
	a := c.agent(t.TempDir(), newNode(), one.address)
	a.until("a complete state", complete)
	told := func(r *controller, want string) func() bool {
		return func() bool { s := r.server.Statuses(); return len(s) == 1 && s[0].Synced() && s[0].LittleRoom == want }
	}
	eventually(t, "in sync, with room", told(one, ""))

	words := "backends: raise it"
	for i, say := range []string{words, "", words} {
		c.littleRoom.Store(&say)
		resources[2] = peer(t, "n2", fmt.Sprintf("10.0.%d.0/24", 30+i))
		one.fill(resources...)
		eventually(t, fmt.Sprintf("told %q", say), told(one, say))
	}

	two := c.controller(clusterName, "127.0.0.1:0")
	two.fill(resources...)
	a.client.SetAddresses([]string{two.address})
	one.kill()
	eventually(t, "told to the other replica", told(two, words))
}

func TestStartWithoutController(t *testing.T) {
	c := newCluster(t)
	ctl := c.controller(clusterName, "127.0.0.1:0")
	ctl.fill(content(t)...)
	dir := t.TempDir()
	a := c.agent(dir, newNode(), ctl.address)
	a.until("a complete state", complete)
	a.stop()
	ctl.kill()

	// The restarted agent has the state before any controller answers.
	n := newNode()
	client, err := sync.New(c.config(dir), n)
	if err != nil {
		t.Fatal(err)
	}
	u, err := client.Load()
	if err != nil || !complete(u) || !u.Changed.All() {
		t.Fatalf("loaded %+v, %v", u, err)
	}
	a = c.agent(dir, n) // no address is given: the last ones are on disk
	a.until("the saved state", complete)

	// A controller comes back, with its certificate still good while the API server is away.
	c.setRefusal(errors.New("connection refused"))
	again := c.controller(clusterName, ctl.address)
	again.fill(content(t)...)
	eventually(t, "in sync again", func() bool { s := again.server.Statuses(); return len(s) == 1 && s[0].Synced() })
	if got := again.sent(); got != 0 {
		t.Errorf("%d resources were sent again, want 0", got)
	}
	if got := c.reviews.Load(); got != 1 {
		t.Errorf("%d enrollments, want 1", got)
	}
}

func TestDamagedStateStartsEmpty(t *testing.T) {
	c := newCluster(t)
	ctl := c.controller(clusterName, "127.0.0.1:0")
	ctl.fill(content(t)...)
	dir := t.TempDir()
	a := c.agent(dir, newNode(), ctl.address)
	a.until("a complete state", complete)
	a.stop()
	path := filepath.Join(dir, "state", "state.pb")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)/2] ^= 1
	for _, damage := range []struct {
		name string
		data []byte
	}{
		{"empty", nil}, {"cut off", good[:len(good)-7]}, {"a flipped bit", flipped}, {"something else", []byte(`{"a": 1}`)},
		{"of another cluster", []byte(strings.Replace(string(good), `"alpha"`, `"bravo"`, 1))},
	} {
		t.Run(damage.name, func(t *testing.T) {
			write(t, path, damage.data)
			client, err := sync.New(c.config(dir), newNode())
			if err != nil {
				t.Fatal(err)
			}
			u, err := client.Load()
			if err != nil || u.Known.Any() || u.LocalNode != nil || len(u.Peers)+len(u.Endpoints) > 0 {
				t.Fatalf("loaded %+v, %v", u, err)
			}
		})
	}
	write(t, path, flipped)
	a = c.agent(dir, newNode(), ctl.address)
	a.until("everything again", complete)
}

func TestRefusal(t *testing.T) {
	c := newCluster(t)
	ctl := c.controller(clusterName, "127.0.0.1:0")
	n := newNode()
	n.setRefuse(func(u sync.Update) error {
		if u.Peers["bad"] != nil {
			return errors.New("PeerNode bad: podCIDRs[0]: no room; make room")
		}
		return nil
	})
	all := content(t)
	for i := range 20 {
		all = append(all, peer(t, fmt.Sprintf("p%02d", i), fmt.Sprintf("10.1.%d.0/24", i)))
	}
	ctl.fill(append(all, peer(t, "bad", "10.9.0.0/24"))...)
	a := c.agent(t.TempDir(), n, ctl.address)
	a.until("all peers but the bad one", func(u sync.Update) bool { return len(u.Peers) == 22 && len(u.Endpoints) == 2 })
	eventually(t, "the refusal is known in the agent's words", func() bool {
		s := ctl.server.Statuses()
		return len(s) == 1 && len(s[0].Refusals) == 1 && s[0].Refusals[0].Name == "bad" &&
			s[0].Refusals[0].Message == "PeerNode bad: podCIDRs[0]: no room; make room"
	})
	// The cause passes on the agent's side: it is tried again without a change.
	n.setRefuse(nil)
	a.until("the bad one, too", func(u sync.Update) bool { return len(u.Peers) == 23 })
	eventually(t, "in sync", func() bool { s := ctl.server.Statuses(); return len(s) == 1 && s[0].Synced() })
}

// After a single resource was refused, the last good state is put back in force.
func TestRefusalPutsTheLastGoodStateBack(t *testing.T) {
	c := newCluster(t)
	ctl := c.controller(clusterName, "127.0.0.1:0")
	ctl.fill(content(t)...)
	n := newNode()
	a := c.agent(t.TempDir(), n, ctl.address)
	a.until("a complete state", complete)
	var last string
	n.setRefuse(func(u sync.Update) error {
		if last = u.Peers["n2"].GetPodCidrs()[0]; last == "10.0.99.0/24" {
			return errors.New("half of it was done, then the kernel said no")
		}
		return nil
	})
	changed := content(t)
	changed[2] = peer(t, "n2", "10.0.99.0/24")
	ctl.fill(changed...)
	eventually(t, "refused", func() bool { s := ctl.server.Statuses(); return len(s) == 1 && len(s[0].Refusals) == 1 })
	eventually(t, "the last good state is in force", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return last == "10.0.2.0/24" && n.current.Peers["n2"].GetPodCidrs()[0] == "10.0.2.0/24"
	})
}

func TestEnrollmentIsRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		arrange func(*cluster, string)
		cluster string
		words   string
	}{
		{"the token is of another node", func(_ *cluster, dir string) { writeToken(dir, "token of n2") }, clusterName, `for node "n1" but the token is of node "n2"`},
		{"the token is bound to no node", func(_ *cluster, dir string) { writeToken(dir, "token of nobody") }, clusterName, "bound to no node"},
		{"the API server refuses the token", func(_ *cluster, dir string) { writeToken(dir, "nonsense") }, clusterName, "refuses the token"},
		{"the API server is away", func(c *cluster, _ string) { c.setRefusal(errors.New("connection refused")) }, clusterName, "the API server cannot be asked"},
		{"there is no token", func(_ *cluster, dir string) { os.Remove(filepath.Join(dir, "token")) }, clusterName, "token cannot be read"},
		{"the controller is of another cluster", func(*cluster, string) {}, "bravo", "of another cluster"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := newCluster(t)
			ctl := cl.controller(c.cluster, "127.0.0.1:0")
			ctl.fill(content(t)...)
			dir := t.TempDir()
			cfg := cl.config(dir)
			c.arrange(cl, dir)
			client, err := sync.New(cfg, newNode())
			if err != nil {
				t.Fatal(err)
			}
			client.SetAddresses([]string{ctl.address})
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() { defer close(done); _ = client.Run(ctx) }()
			defer func() { cancel(); <-done }()
			eventually(t, "the client says "+c.words, func() bool { return strings.Contains(client.Status().LastError, c.words) })
			if client.Status().Connected {
				t.Error("it is connected all the same")
			}
			if _, err := os.Stat(filepath.Join(cfg.StateDir, "client.crt")); err == nil {
				t.Error("there is a certificate")
			}
			// Put right, it goes on by itself.
			writeToken(dir, "token of n1")
			cl.setRefusal(nil)
			if c.cluster == clusterName {
				eventually(t, "it connects", func() bool { return client.Status().Connected })
			}
		})
	}
}

func writeToken(dir, token string) {
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(token), 0o600); err != nil {
		panic(err)
	}
}

// The root and the intermediate are replaced: the old certificate is refused, and
// the agent gets a new one by itself.
func TestTrustIsReplaced(t *testing.T) {
	c := newCluster(t)
	ctl := c.controller(clusterName, "127.0.0.1:0")
	ctl.fill(content(t)...)
	dir := t.TempDir()
	a := c.agent(dir, newNode(), ctl.address)
	a.until("a complete state", complete)
	ctl.kill()

	old := c.root
	fresh := newCluster(t)
	c.root, c.caDir = fresh.root, fresh.caDir
	write(t, filepath.Join(dir, "roots.pem"), append(old.PEM(), c.root.PEM()...))
	again := c.controller(clusterName, ctl.address)
	again.fill(content(t)...)
	eventually(t, "in sync with a new certificate", func() bool { s := again.server.Statuses(); return len(s) == 1 && s[0].Synced() })
	if got := c.reviews.Load(); got != 2 {
		t.Errorf("%d enrollments, want 2", got)
	}
	if got := again.sent(); got != 0 {
		t.Errorf("%d resources were sent again, want 0", got)
	}
}

// Nothing may be pruned because of a type that nobody has answered yet.
func TestUnknownIsNotEmpty(t *testing.T) {
	c := newCluster(t)
	ctl := c.controller(clusterName, "127.0.0.1:0")
	n := newNode()
	var early []sync.Types
	n.setRefuse(func(u sync.Update) error {
		early = append(early, u.Known)
		if u.Changed.Peers && !u.Known.Peers || u.Changed.Endpoints && !u.Known.Endpoints {
			return errors.New("changed and not known")
		}
		return nil
	})
	ctl.store.Swap(serve.Shared, state.PeerNodeType, nil)
	ctl.store.SetReady()
	a := c.agent(t.TempDir(), n, ctl.address)
	a.until("every type known, and empty", func(u sync.Update) bool {
		return u.Known.All() && u.LocalNode == nil && len(u.Peers)+len(u.Endpoints) == 0
	})
	// Services, their endpoints and policies are handed over beside the others.
	if len(early) != len(state.AgentTypes)-3 || early[0].All() {
		t.Errorf("known types, call by call: %+v", early)
	}
}

func TestConfigNamesWhatIsMissing(t *testing.T) {
	_, err := sync.New(sync.Config{NodeName: "n1"}, newNode())
	for _, field := range []string{"ClusterName", "StateDir", "TokenFile", "RootsFile"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
}
