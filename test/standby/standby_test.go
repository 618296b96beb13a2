// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-io/fairlead/internal/agent"
	"github.com/fairlead-io/fairlead/test/asnode"
)

// servedBy waits until the node is served, by an agent that has come to the end of its start.
func (n *node) servedBy(t *testing.T, p *process) {
	t.Helper()
	eventually(t, "the node is served", n.status)
	eventually(t, "health says so", func() error { return get("/readyz") })
	eventually(t, "nothing is left to do without a controller", func() error {
		if !strings.Contains(p.said.String(), "no controller address is known yet") {
			return errors.New("not so yet")
		}
		return nil
	})
}

// bound is how long a node may be without an agent while one comes after another; a tenth of
// a second is what it takes on a machine that has nothing else to do.
const bound = 2 * time.Second

// TestTheNextAgentComesWhenTheFirstEnds: it stands by and changes nothing meanwhile. How long
// the node is without an agent is printed, beside a start of the program, which is but a part
// of what takes time where the next one has not been started.
func TestTheNextAgentComesWhenTheFirstEnds(t *testing.T) {
	n := newNode(t)
	first := n.agent(t)
	n.servedBy(t, first)
	eventually(t, "the first says that it has started", first.hasStarted)
	var standing, starting []time.Duration
	for range 3 {
		before := n.picture(t)
		start := time.Now()
		next := n.agent(t)
		eventually(t, "the next stands by", next.hasStarted)
		t.Logf("the next stands by after %v", time.Since(start))
		if d := cmp.Diff(before, n.picture(t)); d != "" {
			t.Errorf("it has changed the node (-before +after):\n%s", d)
		}
		if err := first.running(); err != nil {
			t.Fatal(err)
		}
		if err := get("/readyz/pod"); err != nil {
			t.Errorf("the pods are not ready: %v", err)
		}
		stop := n.gaps()
		first.end(t)
		n.servedBy(t, next)
		standing = append(standing, stop())
		if err := next.hasStarted(); err != nil {
			t.Error(err)
		}
		// The other way: the next one starts when the first has ended.
		stop = n.gaps()
		next.end(t)
		first = n.agent(t)
		n.servedBy(t, first)
		starting = append(starting, stop())
	}
	slices.Sort(standing)
	slices.Sort(starting)
	t.Logf("without an agent for %v when the next stands by (all: %v), for %v when it starts (all: %v)", standing[1], standing, starting[1], starting)
	if standing[1] > bound {
		t.Errorf("the node was without an agent for %v, want %v at most", standing[1], bound)
	}
}

// TestTheNextAgentComesWhenTheFirstIsKilled: nothing that the first must do is needed.
func TestTheNextAgentComesWhenTheFirstIsKilled(t *testing.T) {
	n := newNode(t)
	first := n.agent(t)
	n.servedBy(t, first)
	next := n.agent(t)
	eventually(t, "the next stands by", next.hasStarted)
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.ended
	n.servedBy(t, next)
	if err := next.hasStarted(); err != nil {
		t.Error(err)
	}
}

// TestAnAgentThatStandsByEndsWhenToldTo: a rollout that is undone removes it.
func TestAnAgentThatStandsByEndsWhenToldTo(t *testing.T) {
	n := newNode(t)
	first := n.agent(t)
	n.servedBy(t, first)
	before := n.picture(t)
	next := n.agent(t)
	eventually(t, "the next stands by", next.hasStarted)
	next.end(t)
	if d := cmp.Diff(before, n.picture(t)); d != "" {
		t.Errorf("it has changed the node (-before +after):\n%s", d)
	}
	if err := first.running(); err != nil {
		t.Error(err)
	}
}

// TestAnAgentThatCannotServeIsNeverReady: the one that serves goes on, and the node stays as
// it is.
func TestAnAgentThatCannotServeIsNeverReady(t *testing.T) {
	n := newNode(t)
	first := n.agent(t)
	n.servedBy(t, first)
	as := func(fn func()) { fn() }
	for name, c := range map[string]struct {
		with  func(func())
		flags []string
		want  []string
	}{
		"no rights to load programs": {withoutRights, nil, []string{"permission denied", "CAP_BPF"}},
		"no BPF file system":         {as, []string{"--bpffs=" + t.TempDir()}, []string{"none is mounted"}},
		"no token, and nowhere to install to": {as, []string{"--token-file=" + n.path("none"), "--cni-bin-dir=" + n.path("nowhere")},
			[]string{"--token-file", "--cni-bin-dir: nothing can be written to"}},
		"no plugin":         {as, []string{"--cni-plugin=" + n.path("none")}, []string{"--cni-plugin"}},
		"a flag is wrong":   {as, []string{"--flow-entries=3"}, []string{"--flow-entries is 3"}},
		"no pod of its own": {as, []string{"--started-socket=" + n.path("nowhere", "s")}, []string{"--started-socket"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := n.picture(t)
			var next *process
			c.with(func() { next = n.agent(t, c.flags...) })
			for ended := false; !ended; {
				if next.running() == nil && next.hasStarted() == nil {
					t.Fatal("it says that it has started")
				}
				select {
				case <-next.ended:
					ended = true
				case <-time.After(5 * time.Millisecond):
				}
			}
			if next.err == nil {
				t.Error("it ends as if nothing had happened")
			}
			for _, w := range c.want {
				if !strings.Contains(next.said.String(), w) {
					t.Errorf("it does not say %q:\n%s", w, next.said)
				}
			}
			if d := cmp.Diff(before, n.picture(t)); d != "" {
				t.Errorf("it has changed the node (-before +after):\n%s", d)
			}
			if err := n.status(); err != nil || first.running() != nil {
				t.Errorf("the first does not serve any more: %v", err)
			}
		})
	}
}

// TestWhoeverHasTheAddressOfHealthIsNoTurn: an agent of a version that takes no turns has it,
// and must not get company.
func TestWhoeverHasTheAddressOfHealthIsNoTurn(t *testing.T) {
	n := newNode(t)
	l, err := net.Listen("tcp", health)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // the test ends here
	before := n.picture(t)
	next := n.agent(t)
	<-next.ended
	if next.err == nil || !strings.Contains(next.said.String(), "maxSurge 0") {
		t.Errorf("it ended with %v:\n%s", next.err, next.said)
	}
	if d := cmp.Diff(before, n.picture(t)); d != "" {
		t.Errorf("it has changed the node (-before +after):\n%s", d)
	}
}

// TestAnAgentThatDoesNotServeDoesNotHoldUpTheNext: a DaemonSet ends the old agent for a new
// one that is ready, and by one address for both neither would ever be.
func TestAnAgentThatDoesNotServeDoesNotHoldUpTheNext(t *testing.T) {
	n := blankNode(t)
	first := n.agent(t)
	eventually(t, "the first has started", first.hasStarted)
	eventually(t, "it answers", func() error { return get("/healthz") })
	if err := get("/readyz/pod"); err == nil {
		t.Fatal("the pod is ready, and the node is not served")
	}
	next := n.agent(t)
	eventually(t, "the pods are ready when the next stands by", func() error { return get("/readyz/pod") })
	if err := next.hasStarted(); err != nil {
		t.Error(err)
	}
	if err := get("/readyz"); err == nil {
		t.Error("the node is said to be served")
	}
}

// TestTheNodeIsCleanedWhenItsAgentHasEnded: an agent that ran on would make anew what is removed.
func TestTheNodeIsCleanedWhenItsAgentHasEnded(t *testing.T) {
	n := newNode(t)
	first := n.agent(t)
	n.servedBy(t, first)
	ctx, cancel := context.WithCancel(t.Context())
	cleaned := make(chan error, 1)
	const at = "127.0.0.1:9443"
	go func() {
		cleaned <- agent.RunCleanup(ctx, agent.CleanupConfig{
			HostRoot: n.dir, StateDir: "state", RunDir: "run", CNIBinDir: "bin", CNIConfDir: "conf", BPFFS: asnode.BPFFS(), HealthAddress: at,
		}, slog.New(slog.DiscardHandler))
	}()
	defer func() {
		cancel()
		if err := <-cleaned; err != nil {
			t.Error(err)
		}
	}()
	for range 20 {
		if err := n.status(); err != nil {
			t.Fatalf("the node is cleaned below its agent: %v", err)
		}
		time.Sleep(10 * time.Millisecond) // nothing happens, which nobody tells of
	}
	first.end(t)
	eventually(t, "the node is clean", func() error { return ask(at, "/readyz") })
	if d := n.picture(t); strings.Contains(d, "fl_vxlan") || strings.Contains(d, asnode.BPFFS()+"/fairlead") {
		t.Errorf("something is left:\n%s", d)
	}
}

// TestWhatTheQuestionCosts prints what a kubelet pays for each look at a pod's agent; it looks
// once a second until the agent has started, and never again.
func TestWhatTheQuestionCosts(t *testing.T) {
	n := newNode(t)
	first := n.agent(t)
	eventually(t, "the first has started", first.hasStarted)
	const rounds = 20
	var cpu, took time.Duration
	for range rounds {
		cmd := exec.Command(first.cmd.Path, "started", first.started)
		start := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		took += time.Since(start)
		cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	t.Logf("one takes %v, and %v of a processor", took/rounds, cpu/rounds)
	if out, err := exec.Command(first.cmd.Path, "started", filepath.Join(t.TempDir(), "none")).CombinedOutput(); err == nil {
		t.Errorf("an agent that is not there has started: %s", out)
	}
}
