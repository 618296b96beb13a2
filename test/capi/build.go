// SPDX-License-Identifier: Apache-2.0

package capi

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/fairlead-io/fairlead/test/lab/progress"
)

// Source is where managers are built: a checkout, whose test/capi/tools says in which versions.
type Source struct {
	Checkout string // The repository's root.
	Progress *progress.Printer
}

// Program is the path of a provider's manager in the checkout's cache. It is built when it is
// not there, which takes minutes the first time.
func (s Source) Program(ctx context.Context, p Provider) (string, error) {
	_, version, err := s.find(ctx, p)
	if err != nil {
		return "", err
	}
	// Absolute, because it is linked from another folder.
	out, err := filepath.Abs(filepath.Join(s.Checkout, ".cache", "capi", version, p.Name))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	return out, s.Progress.Step("build Cluster API's "+p.Name+" "+version+" (2 to 4 minutes the first time)", func() error {
		return s.build(ctx, p, version, out)
	})
}

// Config is the folder of a provider's CRDs and webhooks, in the cache of Go's modules.
func (s Source) Config(ctx context.Context, p Provider) (string, error) {
	dir, _, err := s.find(ctx, p)
	return filepath.Join(dir, filepath.FromSlash(p.Dir), "config"), err
}

// Version is that of a provider's module.
func (s Source) Version(ctx context.Context, p Provider) (string, error) {
	_, version, err := s.find(ctx, p)
	return version, err
}

// build links beside the target and renames: another build, or a manager that runs, has that file.
func (s Source) build(ctx context.Context, p Provider, version, out string) error {
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	beside, err := os.MkdirTemp(filepath.Dir(out), ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(beside) //nolint:errcheck // it is in the cache
	linked := filepath.Join(beside, p.Name)
	_, err = s.run(ctx, "build", "-trimpath", "-ldflags=-s -w -X "+module+"/version.gitVersion="+version, "-o", linked, path.Join(p.Module, p.Dir))
	if err != nil {
		return err
	}
	return os.Rename(linked, out)
}

// find downloads a provider's module when it is not there.
func (s Source) find(ctx context.Context, p Provider) (dir, version string, err error) {
	if _, err := s.run(ctx, "mod", "download", p.Module); err != nil {
		return "", "", err
	}
	out, err := s.run(ctx, "list", "-m", "-f", "{{.Dir}} {{.Version}}", p.Module)
	if err != nil {
		return "", "", err
	}
	dir, version, ok := strings.Cut(strings.TrimSpace(out), " ")
	if !ok {
		return "", "", fmt.Errorf("go list says %q of %s: require it in test/capi/tools/go.mod", out, p.Module)
	}
	return dir, version, nil
}

// run runs go in the module that names the versions.
func (s Source) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(s.Checkout, "test", "capi", "tools")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, said.String())
	}
	return string(out), nil
}
