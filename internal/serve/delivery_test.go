// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

func subject(t *testing.T, name, uid string) state.Resource {
	t.Helper()
	r, err := state.Encode("subject/"+name, &state.PolicyObject{Object: &state.PolicyObject_Subject{Subject: &state.PolicySubject{Name: name, Uid: uid}}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func policyLab(t *testing.T) *lab {
	l := newLabOf(t, serve.Options{Optional: []string{state.PolicyType}}, append([]string{state.PolicyType}, state.AgentTypes...)...)
	l.store.SetReady()
	return l
}

// follow subscribes to policies and acknowledges what there is.
func (l *lab) follow(node string) *subscriber {
	l.t.Helper()
	s := l.subscribe(node)
	s.want(state.PolicyType, nil)
	s.ack(s.next())
	l.status(node, "heard", func(st serve.NodeStatus) bool { return len(st.Heard) == 1 })
	return s
}

func waits(t *testing.T, d *serve.Delivery, want serve.Progress) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for d.Progress() != want {
		if time.Now().After(deadline) {
			t.Fatalf("it has come to %+v, not to %+v", d.Progress(), want)
		}
		time.Sleep(time.Millisecond) // a poll
	}
	select {
	case <-d.Done():
		if want.Waiting > 0 {
			t.Fatal("done, with somebody waiting")
		}
	default:
		if want.Waiting == 0 {
			t.Fatal("not done, with nobody waiting")
		}
	}
}

func one(r state.Resource) state.Delta { return state.Delta{Set: []state.Resource{r}} }

// A change is in force when the last of those whom it concerns has acknowledged it; who is
// not concerned, or does not follow the type, is not waited for.
func TestAChangeIsInForceWhenTheLastHasAcknowledged(t *testing.T) {
	l := policyLab(t)
	a, b := l.follow("n1"), l.follow("n2")
	l.follow("n3")
	old := l.subscribe("n4")
	old.want(state.PeerNodeType, nil)
	old.ack(old.next())
	d := l.store.Apply(state.PolicyType, map[string]state.Delta{
		"n1": one(subject(t, "p", "1")), "n2": one(subject(t, "q", "1")), "n4": one(subject(t, "r", "1")), "n5": one(subject(t, "s", "1")),
	})
	waits(t, d, serve.Progress{Waiting: 2})
	a.ack(a.next())
	waits(t, d, serve.Progress{Acknowledged: 1, Waiting: 1})
	// The next change waits at b for the one before, and both are settled one after the other.
	next := l.store.Apply(state.PolicyType, map[string]state.Delta{"n2": one(subject(t, "q", "2"))})
	b.ack(b.next())
	waits(t, d, serve.Progress{Acknowledged: 2})
	waits(t, next, serve.Progress{Waiting: 1})
	b.ack(b.next())
	waits(t, next, serve.Progress{Acknowledged: 1})
	waits(t, l.store.Apply(state.PolicyType, map[string]state.Delta{"n2": one(subject(t, "q", "2"))}), serve.Progress{})
}

func TestAChangeIsNotWaitedForAtThoseWhoRefuseOrLeave(t *testing.T) {
	l := policyLab(t)
	a, b := l.follow("n1"), l.follow("n2")
	d := l.store.Apply(state.PolicyType, map[string]state.Delta{
		serve.Shared: one(subject(t, "all", "1")), "n1": one(subject(t, "p", "1")), "n2": one(subject(t, "q", "1")),
	})
	b.next()
	b.close()
	waits(t, d, serve.Progress{Gone: 1, Waiting: 1})
	for refused := false; !refused; {
		// What is shared may come by itself; the culprit comes alone in the end.
		r := a.next()
		if n := names(r); len(n) == 1 && n[0] == "subject/p" {
			a.nack(r, "no room")
			refused = true
		} else if len(n) == 2 {
			a.nack(r, "something is wrong")
		} else {
			a.ack(r)
		}
	}
	for d.Progress().Waiting > 0 {
		select {
		case r := <-a.in: // the other half, and the culprit's second turn
			if n := names(r); len(n) == 1 && n[0] == "subject/all" {
				a.ack(r)
			} else {
				a.nack(r, "no room")
			}
		case <-d.Done():
		}
	}
	waits(t, d, serve.Progress{Refused: 1, Gone: 1})
}

// An agent that does not know a type that is optional is in sync without it; one that asks
// for it is not before it has it.
func TestAnOptionalTypeIsNotMissed(t *testing.T) {
	l := policyLab(t)
	l.store.Swap("n1", state.PolicyType, []state.Resource{subject(t, "p", "1")})
	s := l.subscribe("n1")
	for _, typeURL := range state.AgentTypes {
		if typeURL != state.PolicyType {
			s.want(typeURL, nil)
			s.ack(s.next())
		}
	}
	l.status("n1", "in sync", func(st serve.NodeStatus) bool { return st.Synced() })
	s.want(state.PolicyType, nil)
	r := s.next()
	l.status("n1", "out of sync", func(st serve.NodeStatus) bool { return !st.Synced() })
	s.ack(r)
	l.status("n1", "in sync", func(st serve.NodeStatus) bool { return st.Synced() })
}

// However changes of all and of one node interleave with acknowledgements, each is settled.
func TestEveryDeliveryEnds(t *testing.T) {
	l := policyLab(t)
	s := l.follow("n1")
	go func() {
		for {
			select {
			case r := <-s.in:
				s.stream.Send(ackOf(r))
			case <-s.stream.Context().Done():
				return
			}
		}
	}()
	var all []*serve.Delivery
	for i := range 2000 {
		scopes := map[string]state.Delta{"n1": one(subject(t, "p", fmt.Sprint(i)))}
		if i%3 == 0 {
			scopes[serve.Shared] = one(subject(t, "all", fmt.Sprint(i)))
		}
		if i%7 == 0 {
			delete(scopes, "n1")
		}
		all = append(all, l.store.Apply(state.PolicyType, scopes))
		l.store.Change(serve.Shared, state.PolicyType, []state.Resource{subject(t, "other", fmt.Sprint(i))}, nil)
	}
	for i, d := range all {
		select {
		case <-d.Done():
			if p := d.Progress(); p.Acknowledged > 1 {
				t.Fatalf("change %d: %+v", i, p)
			}
		case <-time.After(patience):
			t.Fatalf("change %d never ended: %+v", i, d.Progress())
		}
	}
}

// A change that does not fit into one response comes with what is referred to first, and goes
// with it last.
func TestALargeChangeComesInOrder(t *testing.T) {
	l := newLabOf(t, serve.Options{MaxResources: 1}, state.PolicyType)
	l.store.SetReady()
	s := l.follow("n1")
	l.store.Apply(state.PolicyType, map[string]state.Delta{"n1": {Set: []state.Resource{subject(t, "old-a", "1"), subject(t, "old-b", "1")}}})
	s.ack(s.next())
	s.ack(s.next())
	l.store.Apply(state.PolicyType, map[string]state.Delta{"n1": {
		Set: []state.Resource{subject(t, "new-a", "1"), subject(t, "new-z", "1")}, Removed: []string{"subject/old-a", "subject/old-b"},
	}})
	var got []string
	for range 4 {
		r := s.next()
		got = append(append(got, names(r)...), r.RemovedResources...)
		s.ack(r)
	}
	expect(t, "the order", got, []string{"subject/new-a", "subject/new-z", "subject/old-b", "subject/old-a"})
}
