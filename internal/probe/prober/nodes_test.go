// SPDX-License-Identifier: Apache-2.0

package prober_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/gate"
	"github.com/fairlead-io/fairlead/internal/probe"
	"github.com/fairlead-io/fairlead/internal/probe/prober"
)

// asProbe has this program be a node's probes, in the network namespace that it was started in.
const asProbe = "FAIRLEAD_TEST_PROBE"

func TestMain(m *testing.M) {
	if text := os.Getenv(asProbe); text != "" {
		if err := beProbe(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// maxMemory is what a probe may take in KiB: the pages of this program's file are most of it,
// and agents of the same image have them too.
const maxMemory = 28 << 10

// memoryKnown says that what a probe takes here is what it takes in a pod.
var memoryKnown = true

// role is what a probe's process is told.
type role struct {
	Node    string
	Service netip.Addr
	Peers   []prober.Peer
}

func beProbe(text string) error {
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c := prober.Config{
		Node: r.Node, Namespace: "ns", Service: r.Service, Resolv: "/etc/resolv.conf",
		Peers: prober.Static(r.Peers...), Reports: os.Stdout, Log: slog.New(slog.DiscardHandler),
	}
	for _, p := range r.Peers {
		if p.Node == r.Node {
			c.Addresses = p.Addresses
		}
	}
	return prober.Run(ctx, c)
}

// node is a probe in a namespace.
type node struct {
	name, netns string
	cmd         *exec.Cmd

	mu  sync.Mutex
	log bytes.Buffer
}

// Write takes what the probe reports.
func (n *node) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.Write(p)
}

func (n *node) reports(t *testing.T) []probe.Report {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	out, err := probe.Decode(bytes.NewReader(n.log.Bytes()))
	noError(t, err)
	return out
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func shell(t *testing.T, line string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", line).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// policyOf is what a policy does in a node's network namespace, closed what it is here.
const policyOf, closed = "table inet policed", "chain in { type filter hook input priority 0; udp dport 9452 drop; }"

// twoNodes are joined by a cable, in both families. Each reaches the other's TCP port as its
// Service, and a policy closes the port that is to be closed.
func twoNodes(t *testing.T) []*node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("makes network namespaces: run it as root (make test-bpf)")
	}
	var nodes []*node
	peers := []prober.Peer{}
	for i, name := range []string{"a", "b"} {
		n := &node{name: name, netns: fmt.Sprintf("flprobe%d-%s", os.Getpid(), name)}
		nodes = append(nodes, n)
		peers = append(peers, prober.Peer{Node: name, Addresses: []netip.Addr{
			netip.MustParseAddr(fmt.Sprintf("10.77.0.%d", i+1)), netip.MustParseAddr(fmt.Sprintf("fd77::%d", i+1)),
		}})
		shell(t, "ip netns add "+n.netns)
		t.Cleanup(func() { shell(t, "ip netns del "+n.netns) })
	}
	shell(t, fmt.Sprintf("ip -n %s link add eth0 type veth peer name eth0 netns %s", nodes[0].netns, nodes[1].netns))
	for i, n := range nodes {
		shell(t, fmt.Sprintf(`ip -n %[1]s link set lo up
			ip -n %[1]s addr add 10.77.0.%[2]d/24 dev eth0
			ip -n %[1]s addr add fd77::%[2]d/64 dev eth0 nodad
			ip -n %[1]s link set eth0 up
			ip netns exec %[1]s nft 'add %[3]s { %[4]s; }'`, n.netns, i+1, policyOf, closed))
	}
	self, err := os.Executable()
	noError(t, err)
	for i, n := range nodes {
		text, err := json.Marshal(role{Node: n.name, Service: peers[1-i].Addresses[i], Peers: peers})
		noError(t, err)
		n.cmd = exec.Command("ip", "netns", "exec", n.netns, self)
		n.cmd.Env = append(os.Environ(), asProbe+"="+string(text), "GOMEMLIMIT=16MiB", "GORACE=atexit_sleep_ms=0")
		n.cmd.Stdout, n.cmd.Stderr = n, os.Stderr
		noError(t, n.cmd.Start())
		t.Cleanup(func() { n.end(t) })
	}
	return nodes
}

// end ends a probe as Kubernetes does, at once.
func (n *node) end(t *testing.T) {
	if n.cmd.ProcessState != nil {
		return
	}
	began := time.Now()
	noError(t, n.cmd.Process.Signal(syscall.SIGTERM))
	if err := n.cmd.Wait(); err != nil || time.Since(began) > time.Second {
		t.Errorf("node %s: the probe ended after %s: %v", n.name, time.Since(began), err)
	}
}

// until waits for a condition that comes with a report.
func until(t *testing.T, limit time.Duration, what string, is func() bool) {
	t.Helper()
	deadline := time.After(limit)
	for !is() {
		select {
		case <-deadline:
			t.Fatalf("%s: not after %s", what, limit)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// read is what the operator makes of the reports from an index on.
func read(t *testing.T, nodes []*node, from int) (out []gate.NodeReading) {
	t.Helper()
	for _, n := range nodes {
		all := n.reports(t)
		r := gate.ReadingOf(n.name, all[min(from, len(all)):])
		r.Known = time.Now() // silence is another story
		out = append(out, r)
	}
	return out
}

// TestLossIsFoundAndHealthIsNot: two nodes measure each other, first on a good cable and
// then on one that loses 2 %.
func TestLossIsFoundAndHealthIsNot(t *testing.T) {
	nodes := twoNodes(t)
	have := func(n int) func() bool {
		return func() bool { return len(nodes[0].reports(t)) >= n && len(nodes[1].reports(t)) >= n }
	}
	const healthy = 14
	until(t, 30*time.Second, "reports on a good cable", have(healthy))
	readings := read(t, nodes, 0)
	if v := gate.Judge(nil, readings, v1alpha1.GatesSpec{}, time.Now()); v != nil {
		t.Errorf("on a good cable: %s", v.Message)
	}
	baseline := gate.Sum(readings)
	t.Logf("on a good cable: %+v", baseline)
	for _, m := range baseline {
		if m.Probe == "peers" && m.Sent < 2*healthy*60 || m.Lost != 0 {
			t.Errorf("on a good cable: %+v", m)
		}
	}
	if len(baseline) != 3 || len(readings[0].Probes[0].Peers) != 2 {
		t.Errorf("measured were %+v, want peers in two families, policy, and service", readings[0])
	}
	for _, n := range nodes {
		memory := resident(t, n.cmd.Process.Pid)
		t.Logf("node %s: the probe has %d KiB of memory", n.name, memory)
		if memoryKnown && memory > maxMemory {
			t.Errorf("node %s: the probe has %d KiB of memory, want at most %d", n.name, memory, maxMemory)
		}
	}

	for _, c := range []struct{ name, rule, says string }{
		{"2 % of what a node receives are lost", "numgen random mod 50 == 0 drop", "allowed 0.5 % more than 0 % before; worst towards node"},
		{"a tunnel that is too narrow", "meta length > 1400 drop", "allowed 0.5 % more than 0 % before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := "ip netns exec " + nodes[1].netns + " nft "
			shell(t, in+"'add table inet lossy; add chain inet lossy in { type filter hook input priority 0; }; add rule inet lossy in "+c.rule+"'")
			defer shell(t, in+"delete table inet lossy")
			began, from := time.Now(), len(nodes[0].reports(t))
			var v *gate.Verdict
			until(t, 25*time.Second, "the loss is found", func() bool {
				v = gate.Judge(baseline, read(t, nodes, from), v1alpha1.GatesSpec{}, time.Now())
				return v != nil
			})
			t.Logf("after %s: %s", time.Since(began).Round(100*time.Millisecond), v.Message)
			if v.Reason != v1alpha1.ReasonProbeBreached || v.Probe != "peers" || !strings.Contains(v.Message, c.says) {
				t.Errorf("the verdict is %+v", v)
			}
		})
	}
}

// TestAPolicyThatIsNotInForceIsFound: what a policy forbids passes on one node.
func TestAPolicyThatIsNotInForceIsFound(t *testing.T) {
	nodes := twoNodes(t)
	until(t, 30*time.Second, "reports", func() bool { return len(nodes[0].reports(t)) >= 6 && len(nodes[1].reports(t)) >= 6 })
	baseline := gate.Sum(read(t, nodes, 0))
	if v := gate.Judge(baseline, read(t, nodes, 0), v1alpha1.GatesSpec{}, time.Now()); v != nil {
		t.Errorf("with the policy: %s", v.Message)
	}
	shell(t, "ip netns exec "+nodes[1].netns+" nft delete "+policyOf)
	began, from := time.Now(), len(nodes[0].reports(t))
	var v *gate.Verdict
	until(t, 20*time.Second, "it is found", func() bool {
		v = gate.Judge(baseline, read(t, nodes, from), v1alpha1.GatesSpec{}, time.Now())
		return v != nil
	})
	t.Logf("after %s: %s", time.Since(began).Round(100*time.Millisecond), v.Message)
	if v.Reason != v1alpha1.ReasonProbeBreached || v.Probe != "policy" || v.Node != "a" {
		t.Errorf("the verdict is %+v", v)
	}
}

// TestANodeThatIsGone: all is lost, and the probe says so in time.
func TestANodeThatIsGone(t *testing.T) {
	nodes := twoNodes(t)
	until(t, 30*time.Second, "reports", func() bool { return len(nodes[0].reports(t)) >= 6 && len(nodes[1].reports(t)) >= 6 })
	baseline := gate.Sum(read(t, nodes, 0))
	nodes[1].end(t)
	began, from := time.Now(), len(nodes[0].reports(t))
	var v *gate.Verdict
	until(t, 10*time.Second, "the loss is found", func() bool {
		v = gate.Judge(baseline, read(t, nodes[:1], from), v1alpha1.GatesSpec{}, time.Now())
		return v != nil
	})
	t.Logf("after %s: %s", time.Since(began).Round(100*time.Millisecond), v.Message)
}

// resident is the memory of a process in KiB.
func resident(t *testing.T, pid int) (kib int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	noError(t, err)
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "VmRSS:") {
			_, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib)
			noError(t, err)
		}
	}
	return kib
}
