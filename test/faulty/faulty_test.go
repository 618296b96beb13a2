// SPDX-License-Identifier: Apache-2.0

package faulty

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead-io/fairlead/internal/helm"
)

// root is the root of the source.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// goCommand runs the go command in the root of the source.
func goCommand(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = root(t)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestALossyBuildLoads: the tests of what loads programs, with the loss compiled in.
func TestALossyBuildLoads(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("loads eBPF programs: run it as root (make test-bpf)")
	}
	overlay, err := Overlay(root(t), "lossy", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	deps := goCommand(t, "list", "-overlay", overlay, "-deps", "./cmd/fairlead-agent")
	if !strings.Contains(deps, "test/faulty/lossy") {
		t.Error("the loss is not compiled in")
	}
	out := goCommand(t, "test", "-overlay", overlay, "-count=1", "-v", "./internal/datapath/load")
	if !strings.Contains(out, "--- PASS: TestMapOfAnotherShape") {
		t.Errorf("no programs were loaded:\n%s", out)
	}
}

// TestAFailingBuildFailsOnItsNodeOnly, as an agent, while its probes run there.
func TestAFailingBuildFailsOnItsNodeOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("starts an agent in a network namespace: run it as root (make test-bpf)")
	}
	dir := t.TempDir()
	overlay, err := Overlay(root(t), "failing", dir)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "agent")
	goCommand(t, "build", "-overlay", overlay, "-o", program, "./cmd/fairlead-agent")
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:1"}}],"contexts":[{"name":"x","context":{"cluster":"c"}}],"current-context":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for node, fails := range map[string]bool{"alpha-1": false, "alpha-2": true} {
		cmd := exec.Command(program, "--cluster-name=alpha", "--node-name="+node, "--kubeconfig="+kubeconfig, "--state-dir=/dev/null/none",
			"--trust-bundle=/dev/null/ca", "--token-file=/dev/null/token", "--socket="+filepath.Join(dir, "socket"), "--cni-plugin=", "--health=127.0.0.1:0")
		// No agent starts with such a state directory; if it did, then not on this machine.
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		out, err := cmd.CombinedOutput()
		t.Logf("node %s: %s", node, out)
		if err == nil || strings.Contains(string(out), "does not start here") != fails {
			t.Errorf("node %s: %v, %s", node, err, out)
		}
		if out, _ := exec.Command(program, "probe", "--node-name="+node).CombinedOutput(); strings.Contains(string(out), "does not start here") {
			t.Errorf("node %s: the probes fail: %s", node, out)
		}
	}
}

func TestSourceThatHasChangedIsAnError(t *testing.T) {
	for name, source := range map[string]string{
		"without the function": "package load\n\nimport (\n)\n",
		"without the line":     "package load\n\nimport (\n)\n\n" + faults["lossy"].After + "\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := faults["lossy"].change(source); err == nil || !strings.Contains(err.Error(), "any more") {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := Overlay(root(t), "slow", t.TempDir()); err == nil || !strings.Contains(err.Error(), "failing lossy") {
		t.Errorf("a fault that there is none of: %v", err)
	}
}

// TestAPackedChartIsTheProductsUnderAnotherVersion, and the same bytes each time.
func TestAPackedChartIsTheProductsUnderAnotherVersion(t *testing.T) {
	read := func() (string, []byte) {
		file, err := Pack(t.TempDir(), "v0.1.2")
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return file, b
	}
	file, first := read()
	if _, again := read(); !bytes.Equal(first, again) {
		t.Error("packed twice, the bytes differ")
	}
	if filepath.Base(file) != "cni-0.1.2.tgz" {
		t.Errorf("the file is %s", file)
	}
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xzf", file, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	own, err := helm.Load(os.DirFS(filepath.Join(root(t), "charts")), "cni")
	if err != nil {
		t.Fatal(err)
	}
	packed, err := helm.Load(os.DirFS(dir), "cni")
	if err != nil {
		t.Fatal(err)
	}
	if packed.Version() != "0.1.2" || packed.Name() != "cni" || len(packed.CRDs()) != len(own.CRDs()) {
		t.Errorf("the chart is %s %s with %d CRDs", packed.Name(), packed.Version(), len(packed.CRDs()))
	}
	text, err := os.ReadFile(filepath.Join(dir, "cni", "Chart.yaml"))
	if err != nil || !strings.Contains(string(text), "\nappVersion: v0.1.2\n") {
		t.Errorf("Chart.yaml: %v\n%s", err, text)
	}
	if _, err := Pack(t.TempDir(), "latest"); err == nil {
		t.Error("a chart of version latest was packed")
	}
}
