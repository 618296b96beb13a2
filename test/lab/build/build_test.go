// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-io/fairlead/test/lab/progress"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func tinyTarget(t *testing.T) (Builder, Target) {
	t.Helper()
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	write(t, filepath.Join(src, "go.mod"), "module tiny\n\ngo 1.26\n")
	write(t, filepath.Join(src, "main.go"), "package main\n\nfunc main() {}\n")
	b := Builder{Checkout: dir, Kubernetes: "v1.0.0", Progress: progress.New(io.Discard)}
	return b, Target{Name: "tiny", Dir: src, Sources: src, Packages: map[string]string{"tiny": "."}}
}

func TestUnchangedSourcesAreNotBuiltAgain(t *testing.T) {
	b, target := tinyTarget(t)
	build := func() os.FileInfo {
		if err := b.Ensure(context.Background(), target); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(filepath.Join(b.Bin(), "tiny"))
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	first := build()
	if !os.SameFile(first, build()) {
		t.Error("unchanged sources were built again")
	}
	write(t, filepath.Join(target.Sources, "main.go"), "package main\n\nfunc main() { println() }\n")
	second := build()
	if os.SameFile(first, second) {
		t.Error("changed sources were not built")
	}
	if err := os.Remove(filepath.Join(b.Bin(), "tiny")); err != nil {
		t.Fatal(err)
	}
	build()
}

func TestPrebuiltBinariesAreUsed(t *testing.T) {
	b, target := tinyTarget(t)
	b.Prebuilt = t.TempDir()
	if used, err := b.usePrebuilt(target); used || err != nil {
		t.Errorf("an empty folder is used: %v %v", used, err)
	}
	write(t, filepath.Join(b.Prebuilt, "tiny"), "prebuilt")
	if err := b.Ensure(context.Background(), target); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(b.Bin(), "tiny")); err != nil || string(got) != "prebuilt" {
		t.Errorf("the binary is %q, %v", got, err)
	}
	b.Prebuilt = "/does/not/exist"
	if err := b.Ensure(context.Background(), target); err == nil || !strings.Contains(err.Error(), "LAB_BIN") {
		t.Errorf("a missing folder is not named: %v", err)
	}
}

func TestOtherKubernetesVersionReplacesItsStagingFolders(t *testing.T) {
	release := "module k8s.io/kubernetes\n\ngo 1.24.0\n\ngodebug default=go1.24\n\nrequire a v1\n\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n\tk8s.io/kube-proxy => ./staging/src/k8s.io/kube-proxy\n)\n"
	want := "module github.com/fairlead-io/fairlead/test/lab/kubernetes\ngo 1.24.0\ngodebug default=go1.24\nrequire k8s.io/kubernetes v1.34.2\nreplace (\n\tk8s.io/api => k8s.io/api v0.34.2\n\tk8s.io/kube-proxy => k8s.io/kube-proxy v0.34.2\n)\n"
	if got := string(otherGoMod([]byte(release), "v1.34.2")); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestRequiredVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "go.mod")
	write(t, path, "module m\n\nrequire a.io/x v1.2.3\n\nrequire (\n\ta.io/y v0.1.0 // indirect\n\ta.io/y/z v9.0.0\n)\n")
	for module, want := range map[string]string{"a.io/x": "v1.2.3", "a.io/y": "v0.1.0", "a.io/y/z": "v9.0.0"} {
		if got, err := requiredVersion(path, module); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", module, got, err, want)
		}
	}
	if _, err := requiredVersion(path, "a.io"); err == nil {
		t.Error("an unknown module has a version")
	}
}

func TestCheckout(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "go.mod"), "module github.com/fairlead-io/fairlead\n\ngo 1.26\n")
	write(t, filepath.Join(root, "a/go.mod"), "module github.com/fairlead-io/fairlead/a\n")
	if got, err := Checkout(filepath.Join(root, "a")); err != nil || got != root {
		t.Errorf("got %s, %v; want %s", got, err, root)
	}
	if _, err := Checkout("/"); err == nil {
		t.Error("the file system's root is a checkout")
	}
}
