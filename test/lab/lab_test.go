// SPDX-License-Identifier: Apache-2.0

//go:build lab

// The lab tests start real clusters: go test -tags lab ./test/lab. They need root, and the lab's
// binaries (they build what is missing).
package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is the lab command, run from the checkout with a lab directory of its own.
type program struct {
	t        *testing.T
	path     string
	dir      string
	checkout string
	settings []string
}

func newProgram(t *testing.T) program { return programWith(t, "LAB_CLUSTERS=solo", "LAB_NODES=1") }

func programWith(t *testing.T, settings ...string) program {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root: it makes namespaces and cgroups")
	}
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	p := program{t: t, path: filepath.Join(t.TempDir(), "lab"), dir: filepath.Join(t.TempDir(), "lab"), checkout: checkout, settings: settings}
	build := exec.Command("go", "build", "-o", p.path, "./test/lab/cmd/lab")
	build.Dir = checkout
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p.run("build")
	t.Cleanup(func() { _ = p.command("down").Run() }) // After a failure; a lab that is down stays so.
	return p
}

func (p program) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.path, args...)
	cmd.Dir = p.checkout
	cmd.Env = append(append(os.Environ(), "LAB_DIR="+p.dir), p.settings...)
	return cmd
}

func (p program) run(args ...string) string {
	p.t.Helper()
	var out, log bytes.Buffer
	cmd := p.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("lab %v: %v\n%s%s", args, err, out.String(), log.String())
	}
	return out.String()
}

func (p program) status() Status {
	p.t.Helper()
	var s Status
	if err := json.Unmarshal([]byte(p.run("status", "-o", "json")), &s); err != nil {
		p.t.Fatal(err)
	}
	return s
}

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	within(t, 90*time.Second, what, f)
}

func within(t *testing.T, patience time.Duration, what string, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Errorf("%s: %v", what, err)
}

// The whole life of a lab; at its end, the host is as it was.
func TestLabComesAndGoes(t *testing.T) {
	p := newProgram(t)
	before := hostState(t)
	p.run("up")

	t.Run("every machine and the supervisor run", func(t *testing.T) {
		s := p.status()
		if s.Supervisor == 0 || len(s.Running) != 4 {
			t.Errorf("supervisor %d, machines %v", s.Supervisor, s.Running)
		}
		for name, pid := range s.Running {
			if pid == 0 {
				t.Errorf("%s does not run", name)
			}
		}
	})
	t.Run("the host's network is untouched while the lab runs", func(t *testing.T) {
		if d := added(before["link"], hostState(t)["link"]); len(d) > 0 {
			t.Errorf("new links on the host: %v", d)
		}
	})
	t.Run("nodes have two pod ranges and two addresses", func(t *testing.T) {
		out := p.run("kubectl", "solo", "get", "nodes", "-o", "jsonpath={.items[*].spec.podCIDRs}{.items[*].status.addresses[?(@.type=='InternalIP')].address}")
		for _, want := range []string{"10.33.0.0/24", "fd00:40:1::/64", "172.30.1.11", "fd00:30:1::b"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s is not in %s", want, out)
			}
		}
	})
	t.Run("the hub knows the cluster, and its node reaches it", func(t *testing.T) {
		out := p.run("kubectl", "hub", "-n", "fleet", "get", "cluster,secret", "-o", "name")
		for _, want := range []string{"cluster.cluster.x-k8s.io/solo", "secret/solo-kubeconfig"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s is not in %s", want, out)
			}
		}
		p.run("exec", "hub-1", "--", "bash", "-c", "exec 3<>/dev/tcp/172.30.1.2/6443")
	})
	t.Run("the outside host answers both families with the node's own address", func(t *testing.T) {
		for outside, node := range map[string]string{"203.0.113.10": "172.30.1.11:", "2001:db8:113::a": "[fd00:30:1::b]:"} {
			out := p.run("exec", "solo-1", "--", "bash", "-c",
				fmt.Sprintf(`exec 3<>/dev/tcp/%s/8080; printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3`, outside))
			if !strings.Contains(out, node) {
				t.Errorf("the answer of %s does not name %s: %s", outside, node, out)
			}
		}
	})
	t.Run("there is no way out of the machine", func(t *testing.T) {
		out, err := p.command("exec", "solo-1", "--", "timeout", "3", "bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/80").CombinedOutput()
		if err == nil {
			t.Errorf("an address beyond the router answers: %s", out)
		}
	})
	t.Run("a pod runs on the hub", func(t *testing.T) {
		apply := p.command("kubectl", "hub", "apply", "-f", "-")
		apply.Stdin = strings.NewReader(hostPod)
		if out, err := apply.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		eventually(t, "pod", func() error {
			out, err := p.command("kubectl", "hub", "get", "pod", "host", "-o", "jsonpath={.status.phase}").CombinedOutput()
			if err != nil || string(out) != "Running" {
				return fmt.Errorf("%s %w", out, err)
			}
			return nil
		})
	})
	t.Run("services and nodes that are killed come back", func(t *testing.T) { killThings(t, p) })
	t.Run("a second lab beside it disturbs nothing", func(t *testing.T) {
		first := p.status().Running
		second := p
		second.t, second.dir = t, filepath.Join(t.TempDir(), "lab")
		t.Cleanup(func() { _ = second.command("down").Run() })
		second.run("up")
		for name, pid := range second.status().Running {
			if pid == 0 || pid == first[name] {
				t.Errorf("%s of the second lab is process %d, of the first %d", name, pid, first[name])
			}
		}
		second.run("down")
		if now := p.status().Running; !maps.Equal(first, now) {
			t.Errorf("the first lab's machines were %v, now %v", first, now)
		}
		p.run("kubectl", "solo", "get", "nodes")
	})
	t.Run("what is up stays as it is", func(t *testing.T) {
		first := p.status().Running
		p.run("up")
		if second := p.status().Running; !maps.Equal(first, second) {
			t.Errorf("machines were restarted: %v, now %v", first, second)
		}
	})
	p.run("down")
	eventually(t, "after lab down the host is not as it was", func() error {
		after, left := hostState(t), []string{}
		for kind := range after {
			left = append(left, added(before[kind], after[kind])...)
		}
		if left = append(left, processesOf(p.dir)...); len(left) > 0 {
			return fmt.Errorf("left behind: %q", left)
		}
		return nil
	})
}

const hostPod = `
apiVersion: v1
kind: Pod
metadata: {name: host}
spec:
  hostNetwork: true
  containers:
  - {name: c, image: "fairlead.io/lab/pause:1", resources: {limits: {memory: 32Mi}}, securityContext: {privileged: true}}
`

func killThings(t *testing.T, p program) {
	inner := strings.Fields(p.run("exec", "solo-1", "--", "pidof", "containerd"))
	p.run("exec", "solo-1", "--", "kill", "-9", inner[0])
	eventually(t, "containerd", func() error {
		out, err := p.command("exec", "solo-1", "--", "ctr", "version").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	p.run("exec", "solo-1", "--", "touch", "/run/volatile", "/var/kept")
	p.run("kill-node", "solo-1")
	if pid := p.status().Running["solo-1"]; pid != 0 {
		t.Errorf("solo-1 runs on as %d", pid)
	}
	if out, err := p.command("exec", "solo-1", "--", "true").CombinedOutput(); err == nil || !strings.Contains(string(out), "lab start-node solo-1") {
		t.Errorf("no hint: %s", out)
	}
	p.run("start-node", "solo-1")
	p.run("exec", "solo-1", "--", "test", "-e", "/var/kept")
	if err := p.command("exec", "solo-1", "--", "test", "-e", "/run/volatile").Run(); err == nil {
		t.Error("/run outlived the power cut")
	}
	eventually(t, "kubelet", func() error {
		out, err := p.command("exec", "solo-1", "--", "ctr", "version").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// A lab that was killed at any moment is completed by the next `lab up`.
func TestUpRepairsWhatAKillLeft(t *testing.T) {
	p := newProgram(t)
	for _, after := range []time.Duration{150 * time.Millisecond, 700 * time.Millisecond, 2 * time.Second, 5 * time.Second} {
		up := p.command("up")
		up.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := up.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(after, func() { _ = syscall.Kill(-up.Process.Pid, syscall.SIGKILL) })
		if err := up.Wait(); err == nil {
			t.Logf("lab up was done before %s", after)
		}
	}
	p.run("up")
	s := p.status()
	for _, pid := range []int{s.Supervisor, s.Running["solo-1"], s.Running["hub-cp"]} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("process %d: %v", pid, err)
		}
	}
	p.run("up")
	for name, pid := range p.status().Running {
		if pid == 0 {
			t.Errorf("%s does not run", name)
		}
	}
	if out := p.run("kubectl", "hub", "-n", "fleet", "get", "clusters", "-o", "name"); !strings.Contains(out, "solo") {
		t.Errorf("the hub has lost its cluster: %s", out)
	}
	p.run("down")
	if left := processesOf(p.dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// hostState is what a lab must not leave behind, by kind.
func hostState(t *testing.T) map[string][]string {
	t.Helper()
	state := map[string][]string{}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		state["link"] = append(state["link"], "link "+l.Name)
	}
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		state["mount"] = append(state["mount"], "mount "+strings.Fields(line)[4])
	}
	names, _ := filepath.Glob("/run/netns/*")
	state["netns"] = names
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			state["cgroup"] = append(state["cgroup"], path)
		}
		return nil
	})
	state["sysctl"] = sysctls()
	return state
}

// volatileSysctls count things, or are random.
var volatileSysctls = []string{
	"dentry-state", "inode-nr", "inode-state", "file-nr", "nr_", "aio-nr", "random", "ns_last_pid", "pty", "conntrack_count",
	"quota", "netfilter/nf_log", "cad_pid", "sched_domain", "route/flush",
}

func sysctls() (all []string) {
	_ = filepath.WalkDir("/proc/sys", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || slices.ContainsFunc(volatileSysctls, func(v string) bool { return strings.Contains(path, v) }) {
			return nil
		}
		if info, err := d.Info(); err != nil || info.Mode().Perm()&0o400 == 0 {
			return nil
		}
		if raw, err := os.ReadFile(path); err == nil {
			all = append(all, path+"="+strings.TrimSpace(string(raw)))
		}
		return nil
	})
	return all
}

func added(before, after []string) (new []string) {
	for _, a := range after {
		if !slices.Contains(before, a) {
			new = append(new, a)
		}
	}
	return new
}

// processesOf finds processes that know the lab's directory, by arguments or environment.
func processesOf(dir string) (left []string) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		for _, f := range []string{"cmdline", "environ"} {
			if raw, err := os.ReadFile(filepath.Join(p, f)); err == nil && bytes.Contains(raw, []byte(dir)) {
				left = append(left, fmt.Sprintf("process %s: %.200q", filepath.Base(p), raw))
				break
			}
		}
	}
	return left
}
