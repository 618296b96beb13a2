// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-io/fairlead/test/lab/node"
	"github.com/fairlead-io/fairlead/test/lab/plan"
)

const (
	socket         = "/run/containerd/containerd.sock"
	importPatience = 2 * time.Minute
)

// Exec replaces this process by a command on a machine. It returns only when that is impossible.
func (l *Lab) Exec(name string, argv []string) error {
	m, err := l.Plan.Machine(name)
	if err != nil {
		return err
	}
	pid := node.InitPID(m.Dir).Alive()
	if pid == 0 {
		return fmt.Errorf("%s does not run: start it with `lab start-node %s` or `lab up`", name, name)
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return errors.New("nsenter is missing: apt-get install -y util-linux")
	}
	if err := node.JoinInit(m.Cgroup, l.layout, os.Getpid()); err != nil {
		return err
	}
	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "PATH=") })
	env = append(env, node.SearchPath, "CONTAINERD_ADDRESS="+socket, "CONTAINERD_NAMESPACE=k8s.io")
	args := []string{"nsenter", "--target", strconv.Itoa(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"--"}
	return syscall.Exec(nsenter, append(args, argv...), env)
}

// Command is a command on a machine, as a child of this process.
func (l *Lab) Command(ctx context.Context, machine string, argv ...string) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, l.Program, append([]string{"exec", machine, "--"}, argv...)...)
	cmd.Env = append(os.Environ(), "LAB_DIR="+l.Plan.Dir)
	cmd.Dir = l.Builder.Checkout // By which the program finds its binaries; the supervisor is somewhere else.
	return cmd, nil
}

// Load imports image archives into the containerd of every node that runs, the hub's too. Where
// Cluster API makes nodes, those that it makes later get them, too.
func (l *Lab) Load(ctx context.Context, archives ...string) error {
	if l.Plan.CAPI {
		if err := l.keepImages(archives); err != nil {
			return err
		}
	}
	return l.loadAll(ctx, archives)
}

// loadAll imports archives into every node that there is.
func (l *Lab) loadAll(ctx context.Context, archives []string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2) // Unpacking is bound by the processors.
	for _, m := range l.Plan.Machines() {
		if m.Control {
			continue
		}
		group.Go(func() error {
			for _, a := range archives {
				if err := l.loadOne(ctx, m, a); err != nil {
					return fmt.Errorf("cannot load %s on %s: %w", a, m.Name, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// loadOne skips an archive that the node has; a mark on the node's disk says so.
func (l *Lab) loadOne(ctx context.Context, m plan.Machine, archive string) error {
	digest, err := fileDigest(archive)
	if err != nil {
		return err
	}
	mark := filepath.Join(node.Spec{Dir: m.Dir}.Disk("var/lib/lab-images"), digest)
	if _, err := os.Stat(mark); err == nil {
		return nil
	}
	for deadline := time.Now().Add(importPatience); ; time.Sleep(200 * time.Millisecond) {
		out, err := l.importInto(ctx, m, archive)
		if err == nil {
			break
		}
		if ctx.Err() != nil || time.Now().After(deadline) || !l.runs(m) {
			return fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err := os.MkdirAll(filepath.Dir(mark), 0o755); err != nil {
		return err
	}
	return os.WriteFile(mark, []byte(archive+"\n"), 0o644)
}

func (l *Lab) importInto(ctx context.Context, m plan.Machine, archive string) ([]byte, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd, err := l.Command(ctx, m.Name, "ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", "--local", "-")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, &out, &out
	err = cmd.Run()
	return out.Bytes(), err
}

func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
