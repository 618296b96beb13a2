// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Services that end are started again after this long, twice as long each time they end at once.
const (
	restartDelay    = 200 * time.Millisecond
	maxRestartDelay = 3 * time.Second
	settledAfter    = 10 * time.Second
)

// SearchPath is the environment entry by which programs are found on a machine.
var SearchPath = "PATH=" + BinDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Init is process 1 of a machine. It returns only when the machine cannot be set up.
func Init(path string) error {
	report := os.NewFile(3, "report")
	proceed := os.NewFile(4, "proceed")
	syscall.CloseOnExec(3)
	_, _ = io.ReadAll(proceed) // Until Boot has moved itself and this process out of the cgroup's root.
	proceed.Close()
	s, err := loadSpec(path)
	if err == nil {
		err = setUp(s)
	}
	if err != nil {
		fmt.Fprint(report, err)
		return err
	}
	fmt.Fprint(report, "ok")
	report.Close()
	slog.Info("machine is up", "machine", s.Name)
	keeper := &keeper{running: map[int]*service{}}
	for _, svc := range s.Services {
		keeper.start(&service{Service: svc, delay: restartDelay})
	}
	keeper.reap()
	return nil
}

func setUp(s Spec) error {
	if err := buildRoot(s); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return err
	}
	return passControllers()
}

// keeper starts services and collects every process that ends in the machine, orphans included.
type keeper struct {
	mu      sync.Mutex // Held while a service starts, so that its end is not seen before its number is known.
	running map[int]*service
}

type service struct {
	Service
	started time.Time
	delay   time.Duration
}

func (k *keeper) start(s *service) {
	if s.After != "" {
		if _, err := os.Stat(s.After); err != nil {
			time.AfterFunc(restartDelay, func() { k.start(s) })
			return
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	pid, err := s.exec()
	if err != nil {
		slog.Error("service does not start", "service", s.Name, "error", err)
		k.later(s)
		return
	}
	s.started = time.Now()
	k.running[pid] = s
	slog.Info("service started", "service", s.Name, "pid", pid)
}

func (k *keeper) later(s *service) {
	time.AfterFunc(s.delay, func() { k.start(s) })
	s.delay = min(2*s.delay, maxRestartDelay)
}

func (k *keeper) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.ECHILD {
			time.Sleep(restartDelay) // No process but this one: wait for a restart.
			continue
		}
		if err != nil {
			continue
		}
		k.mu.Lock()
		s := k.running[pid]
		delete(k.running, pid)
		if s != nil {
			slog.Warn("service ended", "service", s.Name, "pid", pid, "exit", status.ExitStatus(), "signal", status.Signal())
			if time.Since(s.started) > settledAfter {
				s.delay = restartDelay
			}
			k.later(s)
		}
		k.mu.Unlock()
	}
}

// exec does not use os/exec, whose Wait would compete with reap.
func (s *service) exec() (int, error) {
	out, err := os.OpenFile(filepath.Join(LogDir, s.Name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	return syscall.ForkExec(s.Argv[0], s.Argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   append([]string{SearchPath, "HOME=/root"}, s.Env...),
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
}
