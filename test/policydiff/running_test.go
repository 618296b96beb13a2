// SPDX-License-Identifier: Apache-2.0

package policydiff

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// talk is a flow of datagrams that goes on while things change.
type talk struct {
	flow
	client *net.UDPConn
	pods   [2]*corev1.Pod // of this node, at its ends
	server arrival        // where its first question came, when it has
	// remembered: the node knows who opened it. Of pods that no policy selects it remembers
	// nothing but the ways between pods.
	remembered bool
}

// TestRunningFlowsFollowPolicies: those that are not allowed any more stop in both directions,
// others go on, and those that are allowed again go on again.
func TestRunningFlowsFollowPolicies(t *testing.T) {
	for salt, services := range []bool{false, true} {
		t.Run(fmt.Sprintf("services %v", services), func(t *testing.T) {
			newTown(t, services, 20+uint64(salt)).keepTalking(t, int(number(t, casesOf, defaultCases))/20)
		})
	}
}

func (w *town) keepTalking(t *testing.T, total int) {
	var y tally
	var all []*talk
	for y.cases < total {
		w.step()
		all = w.present(all)
		for range 8 {
			if len(w.live()) > 0 {
				all = append(all, w.begin())
			}
		}
		w.ask(all, &y)
		w.tell(all, &y)
	}
	t.Log(y)
	y.balanced(t)
}

// present keeps the talks whose pods are still the same, the latest of them.
func (w *town) present(all []*talk) (out []*talk) {
	const most = 80
	for i, one := range all {
		if i >= len(all)-most && one.pods == w.ends(one.flow) {
			out = append(out, one)
		} else {
			one.client.Close()
		}
	}
	return out
}

// ends are the node's pods at a flow's ends, as they were made.
func (w *town) ends(f flow) (out [2]*corev1.Pod) {
	for i, a := range []netip.Addr{f.Source, f.Dest} {
		if slot, ok := w.slotOf(a); ok {
			out[i] = w.firstOf(w.here[slot])
		}
	}
	return out
}

// firstOf is one object for a pod, whatever its labels become.
func (w *town) firstOf(p *corev1.Pod) *corev1.Pod {
	if w.first == nil {
		w.first = map[string]*corev1.Pod{}
	}
	if w.first[string(p.UID)] == nil {
		w.first[string(p.UID)] = p
	}
	return w.first[string(p.UID)]
}

func (w *town) begin() *talk {
	f := w.visit()
	for f.hook == toPod || f.Source == f.Dest {
		f = w.visit()
	}
	return &talk{flow: f, client: w.open(w.t, w.spaceOf(f.Source), netip.AddrPortFrom(f.Source, 0)), pods: w.ends(f)}
}

// ask has each client ask once more; what arrives is answered.
func (w *town) ask(all []*talk, y *tally) {
	w.t.Helper()
	want, asked := map[letter]bool{}, map[*talk]letter{}
	for _, one := range all {
		l := w.next(question)
		asked[one] = l
		for _, l := range []letter{l, {answer, l.nonce}} {
			want[l], w.about[l] = w.allowed(one.flow), one.flow
			y.count("questions and answers", want[l])
		}
		if err := post(one.client, netip.AddrPortFrom(one.Dest, one.Port), l); err != nil && want[l] {
			w.t.Fatalf("%v\n%s", err, w.story(one.flow))
		}
	}
	w.settle(want)
	for one, l := range asked {
		if a, ok := w.has(l); ok {
			one.server = a
			one.remembered = one.remembered || w.remembers(one.flow)
		}
	}
}

// isPods says whether an address is one that pods have.
func isPods(a netip.Addr) bool {
	for n := 1; n <= nodes; n++ {
		if podCIDRs(n)[family(a)].Contains(a) {
			return true
		}
	}
	return false
}

// remembers says whether a packet of a flow leaves a row.
func (w *town) remembers(f flow) bool {
	policed := func(a netip.Addr) bool {
		slot, ok := w.slotOf(a)
		return ok && (w.Judge(w.here[slot], Ingress, f.Connection).Policed || w.Judge(w.here[slot], Egress, f.Connection).Policed)
	}
	return isPods(f.Source) && isPods(f.Dest) || policed(f.Source) || policed(f.Dest)
}

// tell has servers say something unasked within the flows, which is allowed as these are.
func (w *town) tell(all []*talk, y *tally) {
	w.t.Helper()
	want := map[letter]bool{}
	for _, one := range all {
		if w.isHost(one.Dest) {
			continue // it may always send to its pods, and answers by whatever address it likes
		}
		if one.server.at == nil || !one.remembered && !w.allowed(one.flow) || !w.services && one.putOff() {
			continue // nothing of it has ever arrived, or nobody knows whose flow it is
		}
		l := w.next(note)
		want[l], w.about[l] = w.allowed(one.flow), one.flow
		y.count("told unasked", want[l])
		if err := post(one.server.at, one.server.from, l); err != nil && want[l] {
			w.t.Fatalf("%v\n%s", err, w.story(one.flow))
		}
	}
	w.settle(want)
}
