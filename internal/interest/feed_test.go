// SPDX-License-Identifier: Apache-2.0

package interest_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairlead-io/fairlead/internal/interest"
	"github.com/fairlead-io/fairlead/internal/model/policy"
	"github.com/fairlead-io/fairlead/internal/state"
)

func open(t *testing.T, l *lab) {
	t.Helper()
	if err := l.feed.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func wait(t *testing.T, told chan interest.InForce) interest.InForce {
	t.Helper()
	select {
	case in := <-told:
		return in
	case <-time.After(patience):
		t.Fatal("nothing is said")
	}
	return interest.InForce{}
}

// A generation is in force when the last node that it concerns has acknowledged it; one that
// is overtaken is not spoken of.
func TestAPolicyIsInForceWithTheLastNode(t *testing.T) {
	l := newLab(t)
	l.change(func(x *policy.Index) {
		x.SetPod(pod(1, "n1", "web"))
		x.SetPod(pod(2, "n2", "web"))
		x.SetPod(pod(3, "n3", "client"))
	})
	open(t, l)
	a, b := l.agent("n1"), l.agent("n2")
	l.agent("n3")
	l.settled()
	release := b.holdBack()
	before := a.acks.Load()
	first := l.set(allow("ns0", "web", "web", "client"), 1)
	eventually(t, "n1 has it", func() bool { return a.acks.Load() > before })
	second := l.set(allow("ns0", "web", "web", "other"), 2)
	eventually(t, "n1 has the second", func() bool { return a.acks.Load() > before+1 })
	select {
	case in := <-second:
		t.Fatalf("n2 has not acknowledged, and it is said: %+v", in)
	default:
	}
	release()
	// n3 is told too: nobody names its pod any more.
	if in := wait(t, second); in.Generation != 2 || in.Here != 2 || len(in.Elsewhere) != 0 || in.Acknowledged != 3 || in.Refused+in.Waiting+in.Gone != 0 || in.After <= 0 {
		t.Errorf("it is said: %+v", in)
	}
	select {
	case in := <-first:
		t.Errorf("of the one that was overtaken it is said: %+v", in)
	default:
	}
}

func TestARegistrationWaitsForTheInterested(t *testing.T) {
	l := newLab(t)
	young := pod(3, "n3", "client")
	young.Addresses = nil
	l.change(func(x *policy.Index) {
		x.SetPod(pod(1, "n1", "web"))
		x.SetPod(young)
		x.SetNetworkPolicy(allow("ns0", "web", "web", "client"))
	})
	registrar := func(a *agent, uid string, address []byte, wait uint32) (*state.RegisterResponse, error) {
		return state.NewPodAddressesClient(a.conn).Register(a.says(t.Context()), &state.RegisterRequest{
			Namespace: young.Namespace, Name: young.Name, Uid: uid, Addresses: [][]byte{address}, WaitMilliseconds: wait,
		})
	}
	b := l.agent("n3")
	if _, err := registrar(b, young.UID, []byte{10, 3, 3, 3}, 1); status.Code(err) != codes.Unavailable {
		t.Errorf("before the cluster is known: %v", err)
	}
	open(t, l)
	a := l.agent("n1")
	l.settled()
	release := a.holdBack()
	answer, err := registrar(b, young.UID, []byte{10, 3, 3, 3}, 1)
	if err != nil || answer.GetWaiting() != 1 {
		t.Errorf("n1 does not answer: %v, %v", answer, err)
	}
	again := make(chan *state.RegisterResponse, 1)
	go func() {
		answer, _ := registrar(b, young.UID, []byte{10, 3, 3, 3}, 10000)
		again <- answer
	}()
	release()
	if got := <-again; got.GetWaiting() != 0 || got == nil {
		t.Errorf("n1 has acknowledged: %v", got)
	}
	for name, address := range map[string][]byte{"too short": {1, 2}, "loopback": {127, 0, 0, 1}, "nobody": {0, 0, 0, 0}, "everybody": {224, 0, 0, 1}} {
		if _, err := registrar(b, young.UID, address, 1); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	l.feed.SetRanges(map[string][]string{"n1": {"10.1.0.0/16"}, "n3": {"10.3.0.0/16", "10.4.0.0/16"}})
	if _, err := registrar(b, young.UID, []byte{10, 1, 0, 1}, 1); status.Code(err) != codes.PermissionDenied {
		t.Errorf("an address of another node: %v", err)
	}
	if _, err := registrar(b, young.UID, []byte{10, 3, 3, 3}, 10001); status.Code(err) != codes.InvalidArgument {
		t.Errorf("an endless wait: %v", err)
	}
	// The node connects its pod before the API server's news of the pod comes.
	late := pod(4, "n3", "client")
	late.Addresses = nil
	ctx, cancel := context.WithTimeout(b.says(t.Context()), patience)
	defer cancel()
	answers := make(chan error, 1)
	go func() {
		_, err := state.NewPodAddressesClient(b.conn).Register(ctx, &state.RegisterRequest{
			Namespace: late.Namespace, Name: late.Name, Uid: late.UID, Addresses: [][]byte{{10, 4, 4, 4}}, WaitMilliseconds: 1000,
		})
		answers <- err
	}()
	l.change(func(x *policy.Index) { x.SetPod(late) })
	if err := <-answers; err != nil {
		t.Errorf("news came in time: %v", err)
	}
}
