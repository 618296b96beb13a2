// SPDX-License-Identifier: Apache-2.0

package capi

import (
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
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tiny is a checkout whose tools are a module with one provider, in a folder.
func tiny(t *testing.T) (Source, Provider, string) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir) // a checkout's path may be relative
	tools, other := filepath.Join(dir, "test/capi/tools"), filepath.Join(dir, "other")
	write(t, filepath.Join(tools, "go.mod"), "module tools\n\ngo 1.26\n\nrequire example.com/other v1.2.3\n\nreplace example.com/other => ../../../other\n\ntool example.com/other/core\n")
	write(t, filepath.Join(other, "go.mod"), "module example.com/other\n\ngo 1.26\n")
	write(t, filepath.Join(other, "core/main.go"), "package main\n\nfunc main() {}\n")
	return Source{Checkout: ".", Progress: progress.New(io.Discard)}, Provider{Name: "other-core", Module: "example.com/other", Dir: "core"}, other
}

func TestAManagerIsBuiltOnce(t *testing.T) {
	s, p, module := tiny(t)
	dir, err := filepath.Abs(s.Checkout)
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Program(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, ".cache/capi/v1.2.3/other-core"); first != want {
		t.Errorf("the manager is %s, want %s", first, want)
	}
	write(t, filepath.Join(module, "core/main.go"), "this does not compile\n")
	if again, err := s.Program(t.Context(), p); err != nil || again != first {
		t.Errorf("it is built again: %s, %v", again, err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(first), ".new-*")); err != nil || len(left) > 0 {
		t.Errorf("the build left %v behind, %v", left, err)
	}
	if config, err := s.Config(t.Context(), p); err != nil || config != filepath.Join(module, "core/config") {
		t.Errorf("its config is %s, %v", config, err)
	}
}

func TestWhatDoesNotCompileIsNotKept(t *testing.T) {
	s, p, module := tiny(t)
	write(t, filepath.Join(module, "core/main.go"), "package main\n\nfunc main() { undefined() }\n")
	if _, err := s.Program(t.Context(), p); err == nil || !strings.Contains(err.Error(), "undefined: undefined") {
		t.Errorf("what the compiler said is not told: %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.Checkout, ".cache/capi/v1.2.3/other-core")); err == nil {
		t.Error("there is a manager")
	}
}

func TestAModuleThatIsNotRequiredIsNamed(t *testing.T) {
	s, p, _ := tiny(t)
	p.Module = "example.com/unknown"
	if _, err := s.Program(t.Context(), p); err == nil || !strings.Contains(err.Error(), "example.com/unknown") {
		t.Errorf("got %v", err)
	}
}
