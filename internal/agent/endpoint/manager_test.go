// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-io/fairlead/internal/cniapi"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// kernel stands in for the datapath where a failure has to be staged; the real
// one is driven by test/cni.
type kernel struct {
	mu     sync.Mutex
	have   map[Key]datapath.Endpoint
	fail   error
	broken bool // CheckEndpoint fails
}

func (k *kernel) AddEndpoint(_ context.Context, s datapath.EndpointSpec) (datapath.Endpoint, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return datapath.Endpoint{}, k.fail
	}
	ep := datapath.Endpoint{EndpointSpec: s, HostIf: "fl0", MTU: 1450, Gateways: []netip.Addr{netip.MustParseAddr("10.1.0.1")}}
	k.have[Key{s.ContainerID, s.IfName}] = ep
	return ep, nil
}

func (k *kernel) RemoveEndpoint(_ context.Context, e datapath.Endpoint) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	delete(k.have, Key{e.ContainerID, e.IfName})
	return nil
}

func (k *kernel) CheckEndpoint(context.Context, datapath.Endpoint) error {
	if k.broken {
		return errors.New("the interface is gone")
	}
	return nil
}

func (k *kernel) RestoreEndpoints(_ context.Context, eps []datapath.Endpoint) (lost []datapath.Endpoint, _ error) {
	for _, e := range eps {
		if _, ok := k.have[Key{e.ContainerID, e.IfName}]; !ok {
			lost = append(lost, e)
		}
	}
	return lost, nil
}

var ranges = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/29")} // five pods

func started(t *testing.T, s *Store, k *kernel) *Manager {
	t.Helper()
	m := NewManager(s, slog.New(slog.DiscardHandler))
	if err := m.Start(t.Context(), k, ranges); err != nil {
		t.Fatal(err)
	}
	return m
}

func attachment(id string) Attachment {
	return Attachment{Key: Key{id, "eth0"}, Network: "fairlead", Netns: "/run/netns/" + id, Pod: Pod{Namespace: "shop", Name: id}}
}

func wantCode(t *testing.T, err error, code uint) {
	t.Helper()
	if got := cniapi.AsError(err); err == nil || got.Code != code {
		t.Errorf("got %v (code %v), want code %d", err, got, code)
	}
}

func TestBeforeItIsReadyEverythingIsForLater(t *testing.T) {
	m := NewManager(newStore(t), slog.New(slog.DiscardHandler))
	m.SetNotReady("no state yet")
	wantCode(t, m.Status(), cniapi.CodeNotAvailable)
	_, err := m.Add(t.Context(), attachment("a"))
	wantCode(t, err, cniapi.CodeTryAgainLater)
	wantCode(t, m.Del(t.Context(), attachment("a")), cniapi.CodeTryAgainLater)
	if !strings.Contains(err.Error(), "no state yet") {
		t.Errorf("%v does not say why", err)
	}
}

func TestAFailedAddLeavesNothing(t *testing.T) {
	s, k := newStore(t), &kernel{have: map[Key]datapath.Endpoint{}}
	m := started(t, s, k)

	k.fail = errors.New("no such device")
	for range 20 { // more often than there are addresses
		if _, err := m.Add(t.Context(), attachment("a")); err == nil || !strings.Contains(err.Error(), "shop/a") {
			t.Fatalf("got %v, want the pod named", err)
		}
	}
	k.fail = nil

	// The record cannot be written: what the datapath made is taken back.
	if err := os.Rename(s.dir, s.dir+".away"); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := m.Add(t.Context(), attachment("a")); err == nil {
			t.Fatal("an ADD without a record succeeded")
		}
	}
	if err := os.Rename(s.dir+".away", s.dir); err != nil {
		t.Fatal(err)
	}
	if len(k.have) != 0 || len(m.Records()) != 0 || m.Usage()[0].Used != 0 {
		t.Errorf("left behind: %v, %v, %v", k.have, m.Records(), m.Usage())
	}
	if _, err := m.Add(t.Context(), attachment("a")); err != nil {
		t.Errorf("after the faults: %v", err)
	}
}

func TestADelThatFailsKeepsTheAddressTaken(t *testing.T) {
	s, k := newStore(t), &kernel{have: map[Key]datapath.Endpoint{}}
	m := started(t, s, k)
	if _, err := m.Add(t.Context(), attachment("a")); err != nil {
		t.Fatal(err)
	}
	k.fail = errors.New("busy")
	if err := m.Del(t.Context(), attachment("a")); err == nil {
		t.Fatal("DEL succeeded")
	}
	if used := m.Usage()[0].Used; used != 1 {
		t.Errorf("%v addresses in use, want 1: something may still hold it", used)
	}
	k.fail = nil
	if err := m.Del(t.Context(), attachment("a")); err != nil || m.Usage()[0].Used != 0 {
		t.Errorf("DEL again: %v, %v in use", err, m.Usage()[0].Used)
	}
}

func TestARepeatedAdd(t *testing.T) {
	s, k := newStore(t), &kernel{have: map[Key]datapath.Endpoint{}}
	m := started(t, s, k)
	a := attachment("a")
	if _, err := m.Add(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	_, err := m.Add(t.Context(), a)
	wantCode(t, err, cniapi.CodeAlreadyAttached)
	k.broken = true
	if _, err := m.Add(t.Context(), a); err != nil {
		t.Errorf("a broken attachment is replaced: %v", err)
	}
	if n := len(m.Records()); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
}

func TestARestart(t *testing.T) {
	s, k := newStore(t), &kernel{have: map[Key]datapath.Endpoint{}}
	m := started(t, s, k)
	kept := map[netip.Addr]string{}
	for _, id := range []string{"a", "b", "c"} {
		if _, err := m.Add(t.Context(), attachment(id)); err != nil {
			t.Fatal(err)
		}
	}
	delete(k.have, Key{"b", "eth0"}) // its pod died while no agent ran

	again := started(t, s, k)
	for _, r := range again.Records() {
		kept[r.Endpoint.Addresses[0]] = r.Key().ContainerID
	}
	if len(kept) != 2 || again.Usage()[0].Used != 2 {
		t.Fatalf("kept %v, in use %v", kept, again.Usage())
	}
	for _, id := range []string{"d", "e", "f"} {
		res, err := again.Add(t.Context(), attachment(id))
		if err != nil {
			t.Fatal(err)
		}
		if by, taken := kept[res.Addresses[0].Prefix.Addr()]; taken {
			t.Errorf("%s was given to %s and %s", res.Addresses[0].Prefix, by, id)
		}
	}
	_, err := again.Add(t.Context(), attachment("g"))
	wantCode(t, err, cniapi.CodeExhausted)
}

func TestGCTouchesItsOwnNetworkOnly(t *testing.T) {
	s, k := newStore(t), &kernel{have: map[Key]datapath.Endpoint{}}
	m := started(t, s, k)
	for _, id := range []string{"a", "b"} {
		if _, err := m.Add(t.Context(), attachment(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.GC(t.Context(), "another", nil); err != nil || len(m.Records()) != 2 {
		t.Errorf("GC of another network: %v, %d records", err, len(m.Records()))
	}
	if err := m.GC(t.Context(), "fairlead", map[Key]bool{{"b", "eth0"}: true}); err != nil {
		t.Fatal(err)
	}
	if got := m.Records(); len(got) != 1 || got[0].Key().ContainerID != "b" {
		t.Errorf("left: %v", got)
	}
}
