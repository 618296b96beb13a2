// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/fairlead-io/fairlead/test/lab/atomicfile"
	"github.com/fairlead-io/fairlead/test/lab/progress"
)

// Builder makes the lab's binaries and images.
type Builder struct {
	Checkout   string   // The repository's root.
	Kubernetes string   // Version.
	Also       []string // Versions of Kubernetes to build, too.
	CAPI       bool     // Build Cluster API's core manager, too.
	Prebuilt   string   // A folder with binaries to use instead of building them, or empty.
	Progress   *progress.Printer
}

// Dir is where everything is made.
func (b Builder) Dir() string { return filepath.Join(b.Checkout, ".cache", "lab", b.Kubernetes) }

// Bin is the folder of the binaries.
func (b Builder) Bin() string { return filepath.Join(b.Dir(), "bin") }

// Images are the archives that every node gets.
func (b Builder) Images() []string {
	return []string{filepath.Join(b.Dir(), "images", "pause.tar"), filepath.Join(b.Dir(), "images", "coredns.tar")}
}

// CRDs is the folder of Cluster API's CRDs.
func (b Builder) CRDs() string { return filepath.Join(b.Dir(), "cluster-api") }

// All makes everything that is missing or out of date.
func (b Builder) All(ctx context.Context) error {
	if err := b.binaries(ctx); err != nil {
		return err
	}
	for _, version := range b.Also {
		if err := b.other(version).binaries(ctx); err != nil {
			return err
		}
	}
	if err := b.images(); err != nil {
		return err
	}
	if b.CAPI {
		return b.clusterAPI(ctx)
	}
	return b.crds(ctx)
}

// binaries makes all that a machine runs, in one folder.
func (b Builder) binaries(ctx context.Context) error {
	targets, err := b.targets()
	if err != nil {
		return err
	}
	for _, t := range targets {
		if err := b.Ensure(ctx, t); err != nil {
			return err
		}
	}
	return b.links()
}

// Target is some binaries of one module.
type Target struct {
	Name     string            // For people.
	Dir      string            // Of the module, where the compiler runs.
	Sources  string            // What to watch for changes.
	Hint     string            // How long it takes when nothing is cached.
	Flags    []string          // Of go build.
	Packages map[string]string // Binary -> package.
	Test     bool              // Build the package's test binary instead.

	prepare func(context.Context) error
}

func (b Builder) targets() ([]Target, error) {
	kubernetes, err := b.kubernetes()
	if err != nil {
		return nil, err
	}
	lab := filepath.Join(b.Checkout, "test", "lab")
	const containerd = "github.com/containerd/containerd/v2/"
	release, err := requiredVersion(filepath.Join(lab, "containerd", "go.mod"), strings.TrimSuffix(containerd, "/"))
	if err != nil {
		return nil, err
	}
	return []Target{
		kubernetes,
		{
			Name: "containerd " + release, Dir: filepath.Join(lab, "containerd"), Sources: filepath.Join(lab, "containerd"),
			Hint: "about a minute the first time",
			Flags: []string{
				"-tags=no_btrfs,no_devmapper,no_zfs",
				"-ldflags=-s -w -X " + containerd + "version.Version=" + release,
			},
			Packages: map[string]string{
				"containerd":              containerd + "cmd/containerd",
				"containerd-shim-runc-v2": containerd + "cmd/containerd-shim-runc-v2",
				"ctr":                     containerd + "cmd/ctr",
			},
		},
		{
			Name: "CoreDNS", Dir: filepath.Join(lab, "coredns"), Sources: filepath.Join(lab, "coredns"), Hint: "about a minute the first time",
			Flags: []string{"-ldflags=-s -w"}, Packages: map[string]string{"coredns": "."},
		},
		{
			Name: "pause", Dir: b.Checkout, Sources: filepath.Join(lab, "cmd", "pause"), Hint: "seconds",
			Flags: []string{"-ldflags=-s -w"}, Packages: map[string]string{"pause": "./test/lab/cmd/pause"},
		},
	}, nil
}

// Ensure builds a Target, takes it from the prebuilt ones, or finds that it is there already.
func (b Builder) Ensure(ctx context.Context, t Target) error {
	if used, err := b.usePrebuilt(t); used || err != nil {
		return err
	}
	digest, err := t.digest()
	if err != nil {
		return err
	}
	if b.fresh(t, digest) {
		return nil
	}
	return b.Progress.Step("build "+t.Name+" ("+t.Hint+")", func() error {
		if t.prepare != nil {
			if err := t.prepare(ctx); err != nil {
				return err
			}
		}
		for name, pkg := range t.Packages {
			if err := t.build(ctx, pkg, filepath.Join(b.Bin(), name)); err != nil {
				return err
			}
		}
		return atomicfile.Write(b.stamp(t), []byte(digest), 0o644)
	})
}

// build links beside the target and renames, so that a binary in use is not written to.
func (t Target) build(ctx context.Context, pkg, out string) error {
	temporary := out + ".new"
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	args := []string{"build", "-trimpath"}
	if t.Test {
		args = []string{"test", "-c", "-trimpath"}
	}
	args = append(args, t.Flags...)
	if err := run(ctx, t.Dir, "go", append(args, "-o", temporary, pkg)...); err != nil {
		return err
	}
	return os.Rename(temporary, out)
}

func (b Builder) fresh(t Target, digest string) bool {
	for name := range t.Packages {
		if _, err := os.Stat(filepath.Join(b.Bin(), name)); err != nil {
			return false
		}
	}
	stamp, err := os.ReadFile(b.stamp(t))
	return err == nil && string(stamp) == digest
}

func (b Builder) stamp(t Target) string {
	return filepath.Join(b.Dir(), "stamps", strings.ToLower(strings.ReplaceAll(t.Name, " ", "-")))
}

// usePrebuilt copies a target's binaries from the prebuilt folder when all of them are there.
func (b Builder) usePrebuilt(t Target) (bool, error) {
	if b.Prebuilt == "" {
		return false, nil
	}
	if _, err := os.Stat(b.Prebuilt); err != nil {
		return false, fmt.Errorf("LAB_BIN=%s: %w: name a folder with binaries, or unset it to build them", b.Prebuilt, err)
	}
	for name := range t.Packages {
		if _, err := os.Stat(filepath.Join(b.Prebuilt, name)); err != nil {
			return false, nil
		}
	}
	for name := range t.Packages {
		if err := copyBinary(filepath.Join(b.Prebuilt, name), filepath.Join(b.Bin(), name)); err != nil {
			return false, err
		}
	}
	return true, atomicfile.Write(b.stamp(t), []byte("prebuilt"), 0o644)
}

func copyBinary(from, to string) error {
	source, err := os.Stat(from)
	if err != nil {
		return err
	}
	if st, err := os.Stat(to); err == nil && st.Size() == source.Size() && !st.ModTime().Before(source.ModTime()) {
		return nil
	}
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return atomicfile.Write(to, raw, 0o755)
}

// digest covers all that decides a target's binaries: sources, versions (go.sum), flags, compiler.
func (t Target) digest() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOARCH, t.Flags, t.Packages)
	err := filepath.WalkDir(t.Sources, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		fmt.Fprintln(h, d.Name())
		_, err = io.Copy(h, f)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// run shows a command's output only when it fails.
func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out.Bytes())
	}
	return nil
}

// Checkout finds the repository's root from a folder in it.
func Checkout(dir string) (string, error) {
	for d := dir; ; d = filepath.Dir(d) {
		raw, err := os.ReadFile(filepath.Join(d, "go.mod"))
		if err == nil && bytes.HasPrefix(raw, []byte("module github.com/fairlead-io/fairlead\n")) {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", errors.New("not in a checkout of fairlead: go to its folder and try again")
		}
	}
}
