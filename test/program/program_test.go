// SPDX-License-Identifier: Apache-2.0

package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func start(t *testing.T, script string) *Program {
	t.Helper()
	p, err := Start("script", filepath.Join(t.TempDir(), "log"), exec.Command("sh", "-c", script))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestStop(t *testing.T) {
	p := start(t, "exec sleep 600")
	if mib, err := p.ResidentMiB(); err != nil || mib <= 0 {
		t.Errorf("it uses %f MiB, %v", mib, err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	<-p.Ended()
}

func TestCPUSeconds(t *testing.T) {
	p := start(t, "exec sh -c 'while :; do :; done'")
	for until := time.Now().Add(time.Minute); ; {
		cpu, err := p.CPUSeconds()
		if err != nil {
			t.Fatal(err)
		}
		if cpu > 0.1 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("it has used %.2f s in a minute", cpu)
		}
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

func TestAProgramThatEndedByItselfSaysWhatItSaid(t *testing.T) {
	p := start(t, "echo no such cluster >&2; exit 3")
	<-p.Ended()
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "exit status 3\nno such cluster") {
		t.Errorf("got %v", err)
	}
}

func TestKill(t *testing.T) {
	p := start(t, "exec sleep 600")
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Ended()
	if err := p.End(); !strings.Contains(err.Error(), "killed") {
		t.Errorf("got %v", err)
	}
}

func TestALogGoesOn(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	for _, word := range []string{"first", "second"} {
		p, err := Start("script", log, exec.Command("echo", word))
		if err != nil {
			t.Fatal(err)
		}
		<-p.Ended()
	}
	if raw, err := os.ReadFile(log); err != nil || string(raw) != "first\nsecond\n" {
		t.Errorf("the log is %q, %v", raw, err)
	}
}

func TestAProgramThatIsNotThere(t *testing.T) {
	if _, err := Start("none", filepath.Join(t.TempDir(), "log"), exec.Command("/does/not/exist")); err == nil || !strings.Contains(err.Error(), "start none") {
		t.Errorf("got %v", err)
	}
}
