// SPDX-License-Identifier: Apache-2.0

package continuity

import (
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
)

// elsewhere starts a load behind streams. The second result waits for Obey to return.
func elsewhere(at netip.AddrPort, cfg Config) (orders *io.PipeWriter, answers *io.PipeReader, ended func() error) {
	in, orders := io.Pipe()
	answers, out := io.Pipe()
	result := make(chan error, 1)
	go func() {
		err := Obey(in, out, at, cfg)
		result <- errors.Join(err, out.Close(), in.Close())
	}()
	return orders, answers, func() error { return <-result }
}

func TestALoadElsewhere(t *testing.T) {
	s, at := serve(t)
	defer s.Close()
	orders, answers, ended := elsewhere(at, all)
	r, err := Command(orders, answers)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Await(); err != nil {
		t.Error(err)
	}
	got, err := r.Stop()
	if err := errors.Join(err, got.Err(), ended()); err != nil {
		t.Error(err)
	}
	if got.Exchanges < int64(all.Flows) || got.Received < int64(all.DatagramRate) || got.Connected < 10 {
		t.Errorf("next to nothing was tried: %+v", got)
	}
	if err := r.Await(); err == nil {
		t.Error("a load that has ended goes on")
	}
}

// TestALoadElsewhereTellsWhatBroke: the far end's losses and errors are the near end's.
func TestALoadElsewhereTellsWhatBroke(t *testing.T) {
	s, at := serve(t)
	orders, answers, ended := elsewhere(at, all)
	r, err := Command(orders, answers)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	got, err := r.Stop()
	if err == nil || !strings.Contains(err.Error(), "ask the server") {
		t.Errorf("got error %v, want one about the server", err)
	}
	if got.Broken != int64(all.Flows) || got.Err() == nil {
		t.Errorf("got %+v, want all flows broken", got)
	}
	if err := ended(); err != nil {
		t.Error(err)
	}
}

func TestNobodyThereElsewhere(t *testing.T) {
	s, at := serve(t)
	s.Close()
	orders, answers, ended := elsewhere(at, all)
	defer orders.Close()
	if _, err := Command(orders, answers); err == nil || !strings.Contains(err.Error(), at.String()) {
		t.Errorf("got %v, want an error that names %s", err, at)
	}
	answers.Close()
	if ended() == nil {
		t.Error("the load elsewhere does not say that it had no server")
	}
}

// TestACallerThatGoes: the load ends with the stream of orders.
func TestACallerThatGoes(t *testing.T) {
	s, at := serve(t)
	defer s.Close()
	orders, answers, ended := elsewhere(at, all)
	if _, err := Command(orders, answers); err != nil {
		t.Fatal(err)
	}
	orders.Close()
	if err := ended(); err != nil {
		t.Error(err)
	}
}

func TestAnOrderThatNobodyKnows(t *testing.T) {
	s, at := serve(t)
	defer s.Close()
	orders, answers, ended := elsewhere(at, all)
	if _, err := Command(orders, answers); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(orders, "dance\n"); err != nil {
		t.Fatal(err)
	}
	if err := ended(); err == nil || !strings.Contains(err.Error(), `"dance"`) {
		t.Errorf("got %v, want an error that names the order", err)
	}
}
