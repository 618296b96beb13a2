// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// build builds a program of this repository, once for all tests.
var build = func() func(source string) (string, error) {
	var mu sync.Mutex
	built := map[string]string{}
	return func(source string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if p := built[source]; p != "" {
			return p, nil
		}
		p := filepath.Join(programs, filepath.Base(source))
		cmd := exec.Command("go", "build", "-ldflags", "-s -w -X github.com/fairlead-io/fairlead/internal/version.Version=v0.1.0", "-o", p, source)
		cmd.Dir, cmd.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("building %s: %w\n%s", source, err, out)
		}
		built[source] = p
		return p, nil
	}
}()

// programs is the folder of what build built.
var programs string

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard()) // of the played controllers' caches
	var err error
	if programs, err = os.MkdirTemp("", "fairlead-scale-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(programs) // it is in a folder for such
	os.Exit(code)
}

// start starts the operator, with a fleet in which nothing is installed.
func (s *fleetStory) start() {
	s.populate()
	dir := s.t.TempDir()
	program := os.Getenv("FAIRLEAD_SCALE_PROGRAM")
	if program == "" {
		var err error
		program, err = build("./cmd/fairlead")
		s.must(err)
	}
	admin, err := s.hub.AddUser("operator")
	s.must(err)
	s.kubeconfig = filepath.Join(dir, "kubeconfig")
	s.must(os.WriteFile(s.kubeconfig, admin, 0o600))
	s.op, err = startOperator(program, s.kubeconfig, filepath.Join(dir, "operator.log"))
	s.must(err)
	s.t.Cleanup(func() {
		if err := s.op.stop(); err != nil {
			s.t.Error(err)
		}
		if s.t.Failed() {
			raw, _ := os.ReadFile(filepath.Join(dir, "operator.log")) // what there is
			s.t.Logf("the operator's last words (%v):\n%s", s.op.how, raw[max(0, len(raw)-4000):])
		}
	})
}
