// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"github.com/fairlead-io/fairlead/internal/agent/endpoint"
	"github.com/fairlead-io/fairlead/internal/agent/pathmtu"
	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/cniapi"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

// stage records what the node did, in order, and fails where a test says so.
type stage struct {
	steps      []string
	openErr    error
	peerErr    error
	peers      []datapath.Peer
	notReady   string
	services   []datapath.ServiceUpdate
	serviceErr error
	policyMu   *sync.Mutex // nil: the test has one goroutine
	policies   []datapath.PolicyUpdate
	policyErr  error
	onStart    func()
	paths      map[string]int // MTU by peer
	measured   []pathmtu.Peer
	endpoint.Datapath
}

// pathsOf is a stage's side that measures: a datapath has an MTU, too.
type pathsOf struct{ s *stage }

func (p pathsOf) MTU(peer string) int { return p.s.paths[peer] }

func (p pathsOf) SetPeers(peers []pathmtu.Peer) { p.s.measured = peers }

func (s *stage) Reconfigure(context.Context, datapath.Node) error {
	s.steps = append(s.steps, "reconfigure")
	return nil
}

func (s *stage) SyncPeers(_ context.Context, peers []datapath.Peer) error {
	s.steps = append(s.steps, "peers")
	s.peers = peers
	return s.peerErr
}

func (s *stage) UpdateServices(_ context.Context, u datapath.ServiceUpdate) error {
	s.steps = append(s.steps, "services")
	s.services = append(s.services, u)
	return s.serviceErr
}

func (s *stage) SetNotReady(reason string) { s.notReady = reason }

func (s *stage) Start(context.Context, endpoint.Datapath, []netip.Prefix) error {
	s.steps = append(s.steps, "start")
	if s.onStart != nil {
		s.onStart()
	}
	return nil
}

func (s *stage) SetRanges([]netip.Prefix) error {
	s.steps = append(s.steps, "ranges")
	return nil
}

func newNode(s *stage) *Node {
	open := func(context.Context, datapath.Node) (Datapath, error) {
		s.steps = append(s.steps, "open")
		if s.openErr != nil {
			return nil, s.openErr
		}
		return s, nil
	}
	publish := func() error {
		s.steps = append(s.steps, "publish")
		return nil
	}
	return New(open, s, pathsOf{s}, publish, slog.New(slog.DiscardHandler))
}

func update(change func(*agentsync.Update)) agentsync.Update {
	u := agentsync.Update{
		LocalNode: &state.LocalNode{Name: "a", PodCidrs: []string{"10.1.0.0/24"}, Addresses: []string{"192.0.2.1"}},
		Peers: map[string]*state.PeerNode{
			"a": {Name: "a", PodCidrs: []string{"10.1.0.0/24"}, Addresses: []string{"192.0.2.1"}},
			"b": {Name: "b", PodCidrs: []string{"10.1.1.0/24"}, Addresses: []string{"192.0.2.2"}},
		},
		Known: agentsync.Types{LocalNode: true, Peers: true, Endpoints: true},
	}
	change(&u)
	return u
}

func TestTheOrderOfAStart(t *testing.T) {
	s := &stage{}
	n := newNode(s)
	for range 2 {
		if err := n.Apply(t.Context(), update(func(*agentsync.Update) {})); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"open", "start", "peers", "publish", "reconfigure", "peers", "publish"}
	if !slices.Equal(s.steps, want) {
		t.Errorf("steps %v, want %v", s.steps, want)
	}
	if len(s.peers) != 1 || s.peers[0].Name != "b" {
		t.Errorf("peers %v, want all nodes but the own", s.peers)
	}
}

func TestWhatKeepsANodeFromTakingPods(t *testing.T) {
	for name, tc := range map[string]struct {
		stage   stage
		change  func(*agentsync.Update)
		refused string // in the refusal; empty: no refusal
		reason  string // in what STATUS would say
	}{
		"nothing was sent for it":  {change: func(u *agentsync.Update) { u.LocalNode = nil }, reason: "Node object"},
		"it has no pod range":      {change: func(u *agentsync.Update) { u.LocalNode.PodCidrs = nil }, refused: "Node a: spec.podCIDRs is empty", reason: "--allocate-node-cidrs"},
		"its pod range is garbage": {change: func(u *agentsync.Update) { u.LocalNode.PodCidrs[0] = "10.1.0.0" }, refused: `spec.podCIDRs[0] is "10.1.0.0"`, reason: "10.1.2.0/24"},
		"its address is garbage":   {change: func(u *agentsync.Update) { u.LocalNode.Addresses[0] = "x" }, refused: `InternalIP "x"`, reason: "IP address"},
		"the kernel cannot":        {stage: stage{openErr: errors.New("too old")}, change: func(*agentsync.Update) {}, refused: "too old", reason: "too old"},
		"its peers are not known":  {change: func(u *agentsync.Update) { u.Known.Peers = false }},
	} {
		t.Run(name, func(t *testing.T) {
			s := tc.stage
			err := newNode(&s).Apply(t.Context(), update(tc.change))
			if (err == nil) != (tc.refused == "") || (err != nil && !strings.Contains(err.Error(), tc.refused)) {
				t.Errorf("refusal %v, want %q", err, tc.refused)
			}
			if !strings.Contains(s.notReady, tc.reason) {
				t.Errorf("STATUS would say %q, want %q", s.notReady, tc.reason)
			}
			if slices.Contains(s.steps, "publish") {
				t.Error("the runtime was told that the node takes pods")
			}
		})
	}
}

func TestABadPeerHarmsNoOther(t *testing.T) {
	s := &stage{}
	err := newNode(s).Apply(t.Context(), update(func(u *agentsync.Update) {
		u.Peers["c"] = &state.PeerNode{Name: "c", PodCidrs: []string{"nonsense"}}
	}))
	if err == nil || !strings.Contains(err.Error(), "Node c") {
		t.Errorf("got %v, want the peer named", err)
	}
	if len(s.peers) != 1 || s.peers[0].Name != "b" || !slices.Contains(s.steps, "publish") {
		t.Errorf("peers %v, steps %v: the good peer is served and the node published", s.peers, s.steps)
	}
}

func TestANodeWhoseRangeChanges(t *testing.T) {
	s := &stage{}
	n := newNode(s)
	for _, cidr := range []string{"10.1.0.0/24", "10.1.7.0/24"} {
		if err := n.Apply(t.Context(), update(func(u *agentsync.Update) { u.LocalNode.PodCidrs[0] = cidr })); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Contains(s.steps, "ranges") {
		t.Errorf("steps %v: addresses are still assigned from the old range", s.steps)
	}
}

func TestWhatIsKnownOfAPathReachesTheDatapath(t *testing.T) {
	s := &stage{paths: map[string]int{"b": 1400}}
	n := newNode(s)
	three := update(func(u *agentsync.Update) {
		u.Peers["c"] = &state.PeerNode{Name: "c", PodCidrs: []string{"10.1.2.0/24"}, Addresses: []string{"192.0.2.3", "2001:db8::3"}}
	})
	if err := n.Apply(t.Context(), three); err != nil {
		t.Fatal(err)
	}
	if len(s.measured) != 2 || s.measured[1].Name != "c" || len(s.measured[1].Addresses) != 2 {
		t.Errorf("measured are %v, want all peers with all addresses", s.measured)
	}
	if len(s.peers) != 2 || s.peers[0].PathMTU != 1400 || s.peers[1].PathMTU != 0 {
		t.Errorf("the datapath is given %+v", s.peers)
	}
}

func TestANudgeRepeatsTheLastUpdate(t *testing.T) {
	s := &stage{}
	applied := make(chan []string)
	n := newNode(s)
	n.publish = func() error {
		applied <- slices.Clone(s.steps)
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	n.Nudge() // nothing is known of the node yet: nothing to repeat
	go func() { _ = n.Apply(ctx, update(func(*agentsync.Update) {})) }()
	<-applied
	for range 3 {
		n.Nudge()
		if steps := <-applied; steps[len(steps)-2] != "reconfigure" || steps[len(steps)-1] != "peers" {
			t.Errorf("a nudge did %v", steps)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTheConfigurationThatRuntimesRead(t *testing.T) {
	dir := t.TempDir()
	if err := WriteConf(dir, cniapi.DefaultSocket, false); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, ConfName)
	list, err := libcni.ConfListFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if list.Name != Network || list.CNIVersion != "1.1.0" || list.Plugins[0].Network.Type != "fairlead-cni" {
		t.Errorf("a runtime of today reads %+v", list)
	}
	before, _ := os.Stat(path)
	if err := WriteConf(dir, cniapi.DefaultSocket, false); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.Stat(path); !after.ModTime().Equal(before.ModTime()) {
		t.Error("an unchanged configuration was written again: the runtime reloads for nothing")
	}
	if err := RemoveConf(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if err := RemoveConf(dir); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
}
