// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"github.com/fairlead-io/fairlead/internal/cniapi"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// journal is Policies and a kernel that write down in which order they are called.
type journal struct {
	kernel
	steps   []string
	unknown error          // Await's
	refuse  error          // Prepare's
	pool    func() float64 // addresses in use
	connect error
}

func (j *journal) Restored(r Record) { j.steps = append(j.steps, "restored "+r.Pod.Name) }

func (j *journal) Await(_ context.Context, a Attachment) error {
	j.steps = append(j.steps, "await "+a.Pod.Name)
	return j.unknown
}

func (j *journal) Prepare(_ context.Context, a Attachment, addresses []netip.Addr) error {
	j.steps = append(j.steps, fmt.Sprintf("prepare %s %d", a.Pod.Name, len(addresses)))
	return j.refuse
}

func (j *journal) Connected(_ context.Context, r Record) {
	j.steps = append(j.steps, "connected "+r.Pod.Name)
}

func (j *journal) Gone(_ context.Context, k Key) {
	j.steps = append(j.steps, fmt.Sprintf("gone %s, %v addresses in use", k.ContainerID, j.pool()))
}

func (j *journal) AddEndpoint(ctx context.Context, s datapath.EndpointSpec) (datapath.Endpoint, error) {
	j.steps = append(j.steps, "add")
	if j.connect != nil {
		return datapath.Endpoint{}, j.connect
	}
	return j.kernel.AddEndpoint(ctx, s)
}

func (j *journal) RemoveEndpoint(ctx context.Context, e datapath.Endpoint) error {
	j.steps = append(j.steps, "remove")
	return j.kernel.RemoveEndpoint(ctx, e)
}

func enforced(t *testing.T, dir string, j *journal) *Manager {
	t.Helper()
	store, err := NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := NewManager(store, slog.New(slog.DiscardHandler))
	m.Enforce(j)
	j.pool = func() float64 { return m.Usage()[0].Used }
	if err := m.Start(t.Context(), j, ranges); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPoliciesHoldBeforeAPodIsConnectedAndUntilItIsGone(t *testing.T) {
	dir := t.TempDir()
	j := &journal{kernel: kernel{have: map[Key]datapath.Endpoint{}}}
	m := enforced(t, dir, j)
	if _, err := m.Add(t.Context(), attachment("web")); err != nil {
		t.Fatal(err)
	}
	again := &journal{kernel: kernel{have: j.have}}
	m = enforced(t, dir, again)
	if err := m.Del(t.Context(), attachment("web")); err != nil {
		t.Fatal(err)
	}
	got, want := slices.Concat(j.steps, again.steps), []string{"await web", "prepare web 1", "add", "connected web", "restored web", "remove", "gone web, 1 addresses in use"}
	if !slices.Equal(got, want) {
		t.Errorf("steps\n%q, want\n%q", got, want)
	}
	if used := again.pool(); used != 0 {
		t.Errorf("%v addresses are in use after DEL", used)
	}
}

func TestAPodWhosePoliciesAreNotKnownIsNotConnected(t *testing.T) {
	later := cniapi.Errorf(cniapi.CodeTryAgainLater, "not known yet")
	for _, c := range []struct {
		name string
		j    *journal
		want []string
	}{
		{"before it has addresses", &journal{unknown: later}, []string{"await web"}},
		{"then", &journal{refuse: later}, []string{"await web", "prepare web 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := &journal{unknown: c.j.unknown, refuse: c.j.refuse, kernel: kernel{have: map[Key]datapath.Endpoint{}}}
			m := enforced(t, t.TempDir(), j)
			_, err := m.Add(t.Context(), attachment("web"))
			wantCode(t, err, cniapi.CodeTryAgainLater)
			if !slices.Equal(j.steps, c.want) || j.pool() != 0 {
				t.Errorf("steps %q, %v addresses in use, want %q and none", j.steps, j.pool(), c.want)
			}
		})
	}
}

func TestAPodThatCannotBeConnectedLeavesNoPolicies(t *testing.T) {
	j := &journal{kernel: kernel{have: map[Key]datapath.Endpoint{}}, connect: errors.New("no such namespace")}
	m := enforced(t, t.TempDir(), j)
	if _, err := m.Add(t.Context(), attachment("web")); err == nil {
		t.Fatal("an ADD that fails succeeds")
	}
	if want := []string{"await web", "prepare web 1", "add", "gone web, 1 addresses in use"}; !slices.Equal(j.steps, want) || j.pool() != 0 {
		t.Errorf("steps %q, %v addresses in use, want %q and none", j.steps, j.pool(), want)
	}
}
