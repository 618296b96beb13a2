// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-io/fairlead/test/program"
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
		p, err := program.Build(filepath.Join("..", ".."), source, programs)
		if err != nil {
			return "", err
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
	exe := os.Getenv("FAIRLEAD_SCALE_PROGRAM")
	if exe == "" {
		var err error
		exe, err = build("./cmd/fairlead")
		s.must(err)
	}
	admin, err := s.hub.AddUser("operator")
	s.must(err)
	s.kubeconfig = filepath.Join(dir, "kubeconfig")
	s.must(os.WriteFile(s.kubeconfig, admin, 0o600))
	s.op, err = startOperator(exe, s.kubeconfig, filepath.Join(dir, "operator.log"))
	s.must(err)
	s.t.Cleanup(func() {
		if err := s.op.Stop(); err != nil {
			s.t.Error(err)
		}
		if s.t.Failed() {
			s.t.Logf("the operator's last words:\n%s", s.op.LastWords())
		}
	})
}
