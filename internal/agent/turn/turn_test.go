// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// holdFor has this binary be another agent, which holds the turn in the folder until it is
// killed.
const holdFor = "FAIRLEAD_TEST_HOLD_TURN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdFor); dir != "" {
		h, err := Place(dir).Take()
		if h == nil {
			fmt.Println("refused", err)
			os.Exit(1)
		}
		defer h.Release()
		fmt.Println("held")
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
		return
	}
	goleak.VerifyTestMain(m)
}

const patience = 10 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func taken(t *testing.T, h *Hold, err error) *Hold {
	t.Helper()
	if err != nil || h == nil {
		t.Fatalf("the turn is not to be had: %v, %v", h, err)
	}
	t.Cleanup(h.Release)
	return h
}

// agent is another process that has the turn.
func agent(t *testing.T, p Place) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holdFor+"="+string(p))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other agent says %q, %v", line, err)
	}
	return cmd
}

// TestTheNextComesWhenTheFirstIsKilled: no agent has to let go for the next one to come.
func TestTheNextComesWhenTheFirstIsKilled(t *testing.T) {
	p := Place(filepath.Join(t.TempDir(), "run"))
	first := agent(t, p)
	if h, err := p.Take(); h != nil || err != nil {
		t.Fatalf("two have the turn: %v, %v", h, err)
	}
	next := make(chan error, 1)
	go func() {
		h, err := p.Await(within(t))
		h.Release()
		next <- err
	}()
	select {
	case err := <-next:
		t.Fatalf("the next did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	killed := time.Now()
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-next; err != nil {
		t.Fatal(err)
	}
	t.Logf("the next has its turn %v after the kill", time.Since(killed))
}

func TestWhoIsEndedWhileWaitingWaitsNoLonger(t *testing.T) {
	p := Place(t.TempDir())
	h, err := p.Take()
	first := taken(t, h, err)
	ctx, cancel := context.WithCancel(within(t))
	ended := make(chan error, 1)
	go func() {
		_, err := p.Await(ctx)
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("it waited on: %v", err)
	}
	// What it waited for is not kept from others.
	first.Release()
	h, err = p.Await(within(t))
	taken(t, h, err)
}

func TestOneStandsBy(t *testing.T) {
	p := Place(t.TempDir())
	says := func(want bool) {
		t.Helper()
		if got, err := p.SomebodyStandsBy(); got != want || err != nil {
			t.Fatalf("somebody stands by: %t, %v; want %t", got, err, want)
		}
	}
	says(false)
	h, err := p.StandBy(within(t))
	one := taken(t, h, err)
	says(true)
	says(true) // asking changes nothing
	if h, err := p.Take(); h == nil || err != nil {
		t.Fatalf("who stands by has the turn: %v", err)
	} else {
		h.Release()
	}
	second := make(chan *Hold, 1)
	go func() {
		h, err := p.StandBy(within(t))
		if err != nil {
			t.Error(err)
		}
		second <- h
	}()
	one.Release()
	two := <-second
	says(true)
	two.Release()
	says(false)
}

// TestALockThatWasRemovedIsNotHeld: the folder is removed when a node is cleaned. Whoever
// comes later must not meet one that believes to have the turn.
func TestALockThatWasRemovedIsNotHeld(t *testing.T) {
	p := Place(filepath.Join(t.TempDir(), "run"))
	h, err := p.Take()
	first := taken(t, h, err)
	waits := make(chan *Hold, 1)
	waiting := make(chan struct{})
	go func() {
		close(waiting)
		h, err := p.Await(within(t))
		if err != nil {
			t.Error(err)
		}
		waits <- h
	}()
	<-waiting
	if err := os.RemoveAll(string(p)); err != nil {
		t.Fatal(err)
	}
	first.Release()
	second := <-waits
	defer second.Release()
	if h, err := p.Take(); h != nil || err != nil {
		t.Errorf("two have the turn: %v, %v", h, err)
	}
}
