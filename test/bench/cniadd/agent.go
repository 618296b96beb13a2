// SPDX-License-Identifier: Apache-2.0

package cniadd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/fairlead/internal/agent"
	"github.com/fairlead-io/fairlead/internal/state"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

// Argument is the first command-line argument of the agent's process; the program's main
// must hand it over to Main.
const Argument = "fairlead-bench-agent"

// Files of an agent, below its folder.
const (
	socketFile = "cni.sock"
	stateDir   = "state"
)

const cluster = "bench"

// Main is the main function of the agent's process: its folder, the node's name and the
// BPF file system are its arguments. It returns the exit code.
func Main(args []string) int {
	if len(args) != 3 {
		fmt.Fprintln(os.Stderr, "agent: want folder, node and BPF file system")
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	dir := args[0]
	nothing := filepath.Join(dir, "none") // what only a controller's answer would need
	cfg := agent.Config{
		NodeName: args[1], ClusterName: cluster, Namespace: "fairlead-system",
		StateDir: filepath.Join(dir, stateDir), Socket: filepath.Join(dir, socketFile), BPFFS: args[2],
		TrustFile: nothing, TokenFile: nothing, CNIBinDir: dir, CNIConfDir: dir,
		HealthAddress: "127.0.0.1:9442", Masquerade: true,
	}
	// The port is closed in the node's namespace: the agent is on its own.
	kube := &rest.Config{Host: "http://127.0.0.1:6443"}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if err := agent.Run(ctx, cfg, kube, log); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		return 1
	}
	return 0
}

// saveState writes the file that an agent starts on while no controller answers: one
// header line, a delta response a type, and the SHA-256 of all before it.
func saveState(dir string, m *topo.Machine, pods int) error {
	local := &state.LocalNode{
		Name: m.Name, PodCidrs: text(m.PodCIDRs), Addresses: text(m.Addresses), ClusterPodCidrs: []string{"10.244.0.0/16", "fd00:10:244::/48"},
	}
	peer := &state.PeerNode{Name: m.Name, PodCidrs: text(m.PodCIDRs), Addresses: text(m.Addresses)}
	endpoints := map[string]proto.Message{}
	for i := range pods {
		name := podName(i)
		endpoints["bench/"+name] = &state.Endpoint{Namespace: "bench", Name: name, Uid: name}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "fairlead-agent-state v1 cluster=%q node=%q\n", cluster, m.Name)
	for _, resources := range []map[string]proto.Message{{m.Name: local}, {m.Name: peer}, endpoints} {
		if err := writeResources(&b, resources); err != nil {
			return fmt.Errorf("the agent's state: %w", err)
		}
	}
	sum := sha256.Sum256(b.Bytes())
	b.Write(sum[:])
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "state.pb"), b.Bytes(), 0o600)
}

// writeResources writes a type's resources as a controller would send them.
func writeResources(w io.Writer, resources map[string]proto.Message) error {
	r := &discovery.DeltaDiscoveryResponse{}
	for name, m := range resources {
		body, err := anypb.New(m)
		if err != nil {
			return err
		}
		r.TypeUrl = body.TypeUrl
		r.Resources = append(r.Resources, &discovery.Resource{Name: name, Version: "1", Resource: body})
	}
	_, err := protodelim.MarshalTo(w, r)
	return err
}

func text[T netip.Addr | netip.Prefix](list []T) []string {
	var out []string
	for _, v := range list {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

func podName(i int) string { return fmt.Sprint("pod-", i) }

// process is a running agent.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer // to be read after ended
	ended  chan struct{}
}

// startAgent runs an agent on a machine.
func startAgent(m *topo.Machine, dir, bpffs string) (*process, error) {
	p := &process{cmd: exec.Command("/proc/self/exe", Argument, dir, m.Name, bpffs), ended: make(chan struct{})}
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: a process dies with the thread that started it
		defer close(p.ended)
		err := unix.Setns(m.FD(), unix.CLONE_NEWNET)
		if err == nil {
			err = p.cmd.Start()
		}
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // what it said is in stderr
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the agent: %w", err)
	}
	return p, nil
}

// stop ends the agent and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	<-p.ended
}

// residentMiB is how much memory the agent has in use.
func (p *process) residentMiB() (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("the agent's memory: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			if err != nil {
				return 0, fmt.Errorf("the agent's memory: %w", err)
			}
			return kib / 1024, nil
		}
	}
	return 0, fmt.Errorf("the agent's memory: /proc/%d/status has no VmRSS", p.cmd.Process.Pid)
}
