// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/fairlead-io/fairlead/internal/agent"
	"github.com/fairlead-io/fairlead/internal/cniapi"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
	"github.com/fairlead-io/fairlead/test/asnode"
)

// patience is for what takes a second or two on a machine that has nothing else to do.
const patience = 30 * time.Second

const health = "127.0.0.1:9442"

// node is what its agents share.
type node struct{ dir string }

// newNode is a node whose agent was in step with a controller before: without one, agents
// start on what they have saved.
func newNode(t *testing.T) *node {
	t.Helper()
	n := blankNode(t)
	local := &state.LocalNode{Name: "node", PodCidrs: []string{"10.244.1.0/24"}, Addresses: []string{"192.0.2.1"}, ClusterPodCidrs: []string{"10.244.0.0/16"}}
	peer := &state.PeerNode{Name: "node", PodCidrs: local.PodCidrs, Addresses: local.Addresses}
	pod := &state.Endpoint{Namespace: "shop", Name: "cart", Uid: "1"}
	var b bytes.Buffer
	fmt.Fprintf(&b, "fairlead-agent-state v1 cluster=%q node=%q\n", "test", "node")
	write(t, &b, "node", local)
	write(t, &b, "node", peer)
	write(t, &b, "shop/cart", pod)
	if _, err := protodelim.MarshalTo(&b, &discovery.DeltaDiscoveryResponse{TypeUrl: state.AnnouncementType}); err != nil { // none
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	b.Write(sum[:])
	if err := os.WriteFile(n.path("state", "state.pb"), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

// write adds a type's only resource as a controller would send it.
func write(t *testing.T, b *bytes.Buffer, name string, m proto.Message) {
	t.Helper()
	body, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	r := &discovery.DeltaDiscoveryResponse{TypeUrl: body.TypeUrl, Resources: []*discovery.Resource{{Name: name, Version: "1", Resource: body}}}
	if _, err := protodelim.MarshalTo(b, r); err != nil {
		t.Fatal(err)
	}
}

// blankNode is a node that no agent has served. All of ours is removed with the test.
func blankNode(t *testing.T) *node {
	t.Helper()
	n := &node{dir: t.TempDir()}
	for _, dir := range []string{"state", "run", "bin", "conf"} {
		if err := os.Mkdir(n.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The port is closed: the agents are on their own.
	kubeconfig := "{apiVersion: v1, kind: Config, clusters: [{name: a, cluster: {server: 'http://127.0.0.1:6443'}}], contexts: [{name: a, context: {cluster: a}}], current-context: a}"
	for name, text := range map[string]string{"kubeconfig": kubeconfig, "token": "t", "roots": "r"} {
		if err := os.WriteFile(n.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := datapath.Cleanup(context.Background(), datapath.Options{BPFFS: asnode.BPFFS(), Log: slog.New(slog.DiscardHandler)}); err != nil {
			t.Error(err)
		}
	})
	return n
}

func (n *node) path(elem ...string) string { return filepath.Join(append([]string{n.dir}, elem...)...) }

// process is an agent of the node.
type process struct {
	cmd     *exec.Cmd
	started string // the socket of its pod
	said    *syncBuffer
	ended   chan struct{}
	err     error
}

// agent starts one more agent on the node. Flags come after those that all have.
func (n *node) agent(t *testing.T, flags ...string) *process {
	t.Helper()
	p := &process{started: filepath.Join(t.TempDir(), "started.sock"), said: &syncBuffer{}, ended: make(chan struct{})}
	p.cmd = exec.Command(asnode.Program("fairlead-agent"), append([]string{
		"--node-name=node", "--cluster-name=test", "--kubeconfig=" + n.path("kubeconfig"), "--state-dir=" + n.path("state"),
		"--socket=" + n.socket(), "--bpffs=" + asnode.BPFFS(), "--trust-bundle=" + n.path("roots"), "--token-file=" + n.path("token"),
		"--cni-plugin=", "--cni-bin-dir=" + n.path("bin"), "--cni-conf-dir=" + n.path("conf"), "--health=" + health,
		"--started-socket=" + p.started,
	}, flags...)...)
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("an agent said:\n%s", p.said)
		}
	})
	return p
}

func (n *node) socket() string { return n.path("run", "cni.sock") }

// end ends an agent as a kubelet does, and waits until it has.
func (p *process) end(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatal("the agent does not end")
	}
	if p.err != nil {
		t.Errorf("the agent ended with %v", p.err)
	}
}

func (p *process) running() error {
	select {
	case <-p.ended:
		return fmt.Errorf("the agent has ended: %v", p.err)
	default:
		return nil
	}
}

// hasStarted asks the agent of one pod, as the kubelet does.
func (p *process) hasStarted() error {
	return errors.Join(p.running(), agent.Started(context.Background(), p.started))
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not so after %v: %s: %v", patience, what, err)
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
}

// get asks whoever has the agents' address of health.
func get(path string) error { return ask(health, path) }

func ask(address, path string) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}
	resp, err := client.Get("http://" + address + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it is not read
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// status has the CNI's STATUS answered, as the plugin does.
func (n *node) status() error {
	c, err := net.Dial("unix", n.socket())
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // it was read
	if err := cniapi.Write(c, &cniapi.Request{Version: cniapi.Version, Command: cniapi.CommandStatus, Config: []byte(`{"name":"fairlead"}`)}); err != nil {
		return err
	}
	var resp cniapi.Response
	if err := cniapi.Read(c, &resp); err != nil {
		return err
	}
	if resp.Error != nil {
		return resp.Error
	}
	return nil
}

// gaps watches whether the node is served until stop, which returns the longest time that it
// was not.
func (n *node) gaps() (stop func() time.Duration) {
	done, longest := make(chan struct{}), make(chan time.Duration)
	go func() {
		var most time.Duration
		last := time.Now()
		for {
			if n.status() == nil {
				now := time.Now()
				most, last = max(most, now.Sub(last)), now
			}
			select {
			case <-done:
				longest <- most
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() time.Duration { close(done); return <-longest }
}

// picture is what there is on the node of anybody's: devices, routes, rules, pins with their
// programs, and files but for the locks, which are of no content.
func (n *node) picture(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, args := range [][]string{
		{"-d", "-o", "link"}, {"-o", "addr"}, {"route", "show", "table", "all"}, {"-6", "route", "show", "table", "all"}, {"rule"}, {"-6", "rule"},
	} {
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
		b.Write(out)
	}
	for _, root := range []string{asnode.BPFFS(), n.dir} {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if filepath.Ext(path) == ".lock" {
				return nil
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s %s", path, info.Mode())
			switch {
			case filepath.Base(filepath.Dir(path)) == "links":
				fmt.Fprintf(&b, " program %s", programOf(path))
			case filepath.Base(path) == "in-force": // written again each time that the serving agent has looked at the node
			case e.Type().IsRegular():
				fmt.Fprintf(&b, " %d bytes of %s", info.Size(), info.ModTime())
			}
			fmt.Fprintln(&b)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// programOf is the program of an attachment that is pinned.
func programOf(pin string) string {
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return err.Error() // of clsact: a file that names it
	}
	defer l.Close() //nolint:errcheck // it was only read
	info, err := l.Info()
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(info.Program)
}

// withoutRights has fn start processes that may not load programs.
func withoutRights(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock: the thread ends with its rights
		for _, c := range []uintptr{unix.CAP_BPF, unix.CAP_SYS_ADMIN, unix.CAP_PERFMON} {
			_ = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) // what is left shows in the test
		}
		fn()
	}()
	<-done
}

// syncBuffer is a buffer that a process writes to while a test reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
