// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/test/lab/atomicfile"
	"github.com/fairlead-io/fairlead/test/lab/build"
	"github.com/fairlead-io/fairlead/test/lab/cgroup"
	"github.com/fairlead-io/fairlead/test/lab/kube"
	"github.com/fairlead-io/fairlead/test/lab/node"
	"github.com/fairlead-io/fairlead/test/lab/plan"
	"github.com/fairlead-io/fairlead/test/lab/progress"
)

// Lab is one lab: the machines that belong to one directory.
type Lab struct {
	Plan     plan.Plan
	Builder  build.Builder
	Progress *progress.Printer
	// Program is the path of the lab's program, by which the supervisor and commands on
	// machines are run: a process that joins a machine's namespaces has to be one of its
	// own. Whoever uses this package names it; it is never guessed to be the running
	// program, which would run itself for ever if it were another one.
	Program string
	layout  cgroup.Layout
}

// New prepares a lab by the settings; nothing is started or read yet but the host's cgroup layout.
func New(s plan.Settings, checkout string, out io.Writer) (*Lab, error) {
	layout, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	p := progress.New(out)
	return &Lab{
		Plan:     plan.New(s),
		Builder:  build.Builder{Checkout: checkout, Kubernetes: s.Kubernetes, Also: s.Also, CAPI: s.CAPI, Prebuilt: s.Bin, Progress: p},
		Progress: p,
		layout:   layout,
	}, nil
}

// Open finds the lab that exists in a directory, whatever the settings are now.
func Open(s plan.Settings, checkout string, out io.Writer) (*Lab, error) {
	l, err := New(s, checkout, out)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(l.planFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no lab in %s: start it with `lab up`, or set LAB_DIR", s.Dir)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &l.Plan); err != nil {
		return nil, fmt.Errorf("%s is damaged: run `lab down` and `lab up`: %w", l.planFile(), err)
	}
	l.Builder.Kubernetes, l.Builder.Also, l.Builder.CAPI = l.Plan.Kubernetes, l.Plan.Also, l.Plan.CAPI
	return l, l.addBirths()
}

// Here makes, with New or Open, the lab that the environment and the working folder describe.
func Here(with func(plan.Settings, string, io.Writer) (*Lab, error)) (*Lab, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	settings, err := plan.FromEnv(os.Getenv, dir)
	if err != nil {
		return nil, err
	}
	checkout, err := build.Checkout(dir)
	if err != nil {
		return nil, err
	}
	return with(settings, checkout, os.Stderr)
}

func (l *Lab) planFile() string { return filepath.Join(l.Plan.Dir, "lab.json") }

// remember keeps the plan beside the lab and refuses to turn a lab into another one.
func (l *Lab) remember() error {
	raw, err := json.MarshalIndent(l.Plan, "", "  ")
	if err != nil {
		return err
	}
	old, err := os.ReadFile(l.planFile())
	if err == nil && !bytes.Equal(old, raw) {
		return fmt.Errorf("the lab in %s was made with other settings (LAB_NODES, LAB_CLUSTERS, LAB_CAPI, LAB_KUBE_PROXY, LAB_KUBERNETES or LAB_KUBERNETES_ALSO): run `lab down` first, or use another LAB_DIR", l.Plan.Dir)
	}
	return atomicfile.Write(l.planFile(), raw, 0o644)
}

// lock keeps a second command from changing the same lab at the same time. The lock ends with the
// process, so one that is killed leaves none.
func (l *Lab) lock() (unlock func(), err error) {
	if err := os.MkdirAll(l.Plan.Dir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(l.Plan.Dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(f)
		f.Close()
		return nil, fmt.Errorf("another command (process %s) is changing the lab in %s: wait for it, or end it", strings.TrimSpace(string(holder)), l.Plan.Dir)
	}
	_ = f.Truncate(0)
	fmt.Fprintln(f, os.Getpid())
	return func() { f.Close() }, nil
}

func (l *Lab) spec(m plan.Machine, services []node.Service) node.Spec {
	s := node.Spec{
		Name: m.Name, Netns: m.Netns, Cgroup: m.Cgroup, Dir: m.Dir, Logs: m.Logs,
		Bin: l.Builder.BinOf(m.Kubernetes), Shared: l.Shared(), Services: services,
	}
	if !m.Control {
		s.Masked = kube.Masked
	}
	return s
}

// Shared is the folder that all machines see at /lab/shared.
func (l *Lab) Shared() string { return filepath.Join(l.Plan.Dir, "shared") }

// OpenFromDir opens the lab of LAB_DIR for its own supervisor, which runs outside the checkout.
func OpenFromDir() (*Lab, error) {
	return Open(plan.Settings{Dir: os.Getenv("LAB_DIR")}, os.Getenv(checkoutVariable), io.Discard)
}

// checkoutVariable tells the supervisor where the binaries of machines are.
const checkoutVariable = "LAB_CHECKOUT"
