// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/bpf"
)

// PortVerdict is what becomes of connections to some ports of a protocol; protocol 0 is all
// that have none of their own.
type PortVerdict struct {
	Protocol    uint8
	First, Last uint16
	Allow       bool
}

// Policies are what pods may receive and send. The zero value says nothing of anybody.
type Policies struct {
	// Classes are those of addresses: the longest prefix counts.
	Classes map[netip.Prefix]uint64
	// Tables of ports by ruleset and class; that of class 0 is for all classes without one.
	Tables map[bpf.PolicyKey]uint64
	// Ports of a table, disjoint.
	Ports map[uint64][]PortVerdict
}

func (p *Policies) classOf(a netip.Addr) uint64 {
	best := netip.Prefix{}
	for r := range p.Classes {
		if r.Contains(a) && (!best.IsValid() || r.Bits() > best.Bits()) {
			best = r
		}
	}
	return p.Classes[best]
}

// allows says whether a ruleset lets a connection with a peer through.
func (p *Policies) allows(ruleset uint64, peer netip.Addr, protocol uint8, port uint16) bool {
	table, ok := p.Tables[bpf.PolicyKey{Ruleset: ruleset, Class: p.classOf(peer)}]
	if !ok {
		if table, ok = p.Tables[bpf.PolicyKey{Ruleset: ruleset}]; !ok {
			return false
		}
	}
	others := false
	for _, v := range p.Ports[table] {
		if v.Protocol == protocol && protocol != 0 && v.First <= port && port <= v.Last {
			return v.Allow
		}
		if v.Protocol == 0 {
			others = v.Allow
		}
	}
	return others
}

// conversation is a packet as policies see it.
type conversation struct {
	src, dst     netip.Addr
	sport, dport uint16 // in host byte order
	protocol     uint8
	fromHost     bool
	source, dest bpf.Subject
	mayDefer     bool // the destination may yet be translated
	mayBeOther   bool // the source may have been translated
	borrowed     bool // the source is not the address of the pod that sent it
}

// judgement is what policies have said of the packet in hand.
type judgement struct {
	verdict uint8 // of the connection's row; 0: nobody was asked
	// decided: the packet was not just let through as the ones before it.
	decided bool
	events  []bpf.FlowEvent
	// marked: whoever meets the packet when it leaves the stack is to judge it.
	marked bool
}

// isHost says whether an address is the node's own.
func (w *World) isHost(a netip.Addr) bool {
	for _, g := range w.Gateways {
		if a == g {
			return true
		}
	}
	return w.Hosts[a]
}

// mayBegin says whether the source may open the connection; else why not.
func (w *World) mayBegin(c conversation) (bpf.Reason, bool) {
	if r := c.source.Egress; r != 0 && !w.Policies.allows(r, c.dst, c.protocol, c.dport) {
		return bpf.ReasonDropEgress, false
	}
	if r := c.dest.Ingress; r != 0 && !c.fromHost && !w.Policies.allows(r, c.src, c.protocol, c.dport) {
		return bpf.ReasonDropIngress, false
	}
	return 0, true
}

// mayAnswer says whether the destination may have opened it.
func (w *World) mayAnswer(c conversation) (bpf.Reason, bool) {
	if r := c.dest.Egress; r != 0 && !w.Policies.allows(r, c.src, c.protocol, c.sport) {
		return bpf.ReasonDropEgress, false
	}
	if r := c.source.Ingress; r != 0 && !w.isHost(c.dst) && !w.Policies.allows(r, c.dst, c.protocol, c.sport) {
		return bpf.ReasonDropIngress, false
	}
	return 0, true
}

// setSubjects finds the pods at both ends: the source by its device where its address may not
// be its own any more.
func (w *World) setSubjects(m Meeting, c *conversation) {
	src, dst := w.Endpoints[c.src], w.Endpoints[c.dst]
	c.source, c.dest = bpf.Subject{Ingress: src.Ingress, Egress: src.Egress}, bpf.Subject{Ingress: dst.Ingress, Egress: dst.Egress}
	if s, ok := w.Subjects[m.Ingress]; ok && m.Deferred && m.Hook != bpf.HookFromPod {
		c.source = s
	}
}

func (c *conversation) isPoliced() bool {
	return c.source.Ingress|c.source.Egress|c.dest.Ingress|c.dest.Egress != 0
}

// policeLeaving is police where from_pod has left it to the hook.
func (w *World) policeLeaving(m Meeting, x parsed, now uint32) (bpf.Reason, bool) {
	if !m.Deferred {
		return 0, true
	}
	why, ok := w.police(m, x, false, now)
	w.judged.marked = false
	return why, ok
}

// police says whether policies let a packet through; else why not.
func (w *World) police(m Meeting, x parsed, fromHost bool, now uint32) (bpf.Reason, bool) {
	c := conversation{src: x.src, dst: x.dst, protocol: x.protocol, fromHost: fromHost}
	if w.setSubjects(m, &c); !c.isPoliced() {
		return 0, true
	}
	_, here := w.Endpoints[x.dst]
	_, _, known := w.rangeOf(x.dst)
	c.mayDefer = m.Hook == bpf.HookFromPod && !here && !known
	c.mayBeOther = m.Hook == bpf.HookToPod
	if x.hasFlow {
		c.src, c.dst, c.sport, c.dport = x.flowSrc, x.flowDst, bpf.Port(x.sport), bpf.Port(x.dport)
	}
	if x.fragment && hasPorts(x.protocol) && !x.icmpError {
		key := bpf.FragmentKey{Src: bpf.AddressOf(x.src), Dst: bpf.AddressOf(x.dst), Id: x.id, Protocol: x.protocol}
		if x.hasFlow {
			w.Fragments[key] = bpf.Fragment{Sport: x.sport, Dport: x.dport}
		} else if first, ok := w.Fragments[key]; ok {
			c.sport, c.dport = bpf.Port(first.Sport), bpf.Port(first.Dport)
		} else {
			return bpf.ReasonDropFragment, false
		}
	}
	w.setSubjects(m, &c)
	_, ofPod := w.Endpoints[c.src]
	c.borrowed = m.Hook != bpf.HookFromPod && m.Deferred && !ofPod
	return w.judge(x, c, now)
}

// judge asks the policies of both ends. A connection is judged as its opener began it.
func (w *World) judge(x parsed, c conversation, now uint32) (bpf.Reason, bool) {
	if !c.isPoliced() || c.src == c.dst {
		return 0, true
	}
	q := plain{tcp: x.tcp}
	q.flow, q.direction = flowOf(c.src, c.dst, bpf.Port(c.sport), bpf.Port(c.dport), c.protocol)
	opens := isOpening(x.tcp)
	row := w.Table.find(q.flow)
	var verdict uint8
	if c.borrowed {
		verdict = bpf.ConnectionOpened // by the source
		if q.direction == 1 {
			verdict |= bpf.ConnectionOpenedB
		}
	} else if row != nil {
		w.judged.decided = isAnother(row, q, now)
		if !opens && int32(now-row.Seen) <= int32(max(lifeUDPAnswered, lifeOf(row))) {
			verdict = row.Verdict
			if row.Epoch != w.Epoch {
				verdict &^= bpf.ConnectionAllowed
			}
		}
	}
	if verdict&bpf.ConnectionAllowed != 0 {
		w.judged.verdict = verdict
		if x.hasAnswers() {
			saw(row, q, now)
		}
		return 0, true
	}
	known := verdict&bpf.ConnectionOpened != 0
	bySource := !known || (verdict&bpf.ConnectionOpenedB != 0) == (q.direction == 1)
	ask := w.mayBegin
	if !bySource {
		ask = w.mayAnswer
		if c.mayBeOther && verdict&bpf.ConnectionDeferred != 0 {
			c.dest.Egress = 0 // is asked where its packets leave the stack
		}
	}
	why, ok := ask(c)
	if !ok && !known && !opens && (c.protocol == unix.IPPROTO_TCP || x.icmpError) {
		// It opens nothing, and may be of a connection that the other end has opened.
		if _, ok = w.mayAnswer(c); ok {
			bySource = false
		}
	}
	if !ok && why == bpf.ReasonDropEgress && bySource && c.mayDefer {
		w.judged.marked = true
		w.keepVerdict(x, q, true, bpf.ConnectionDeferred, now)
		return 0, true
	}
	if !ok {
		return why, false
	}
	if !c.borrowed {
		w.keepVerdict(x, q, bySource, bpf.ConnectionAllowed, now)
	}
	return 0, true
}

// keepVerdict notes in the connection's row that it is allowed, or who is to say so, and who
// opened it.
func (w *World) keepVerdict(x parsed, q plain, bySource bool, verdict uint8, now uint32) {
	w.judged.verdict = bpf.ConnectionOpened | verdict
	if bySource == (q.direction == 1) {
		w.judged.verdict |= bpf.ConnectionOpenedB
	}
	if !x.hasAnswers() {
		return
	}
	var out Outcome
	w.write(&out, q, bpf.Path{}, netip.Addr{}, now)
	w.judged.events = out.Events
}

// isAnother says whether a packet may be of another connection than that which policies have let
// through, on the same ports.
func isAnother(row *bpf.Connection, q plain, now uint32) bool {
	return row.Verdict&bpf.ConnectionAllowed != 0 && (isOpening(q.tcp) || int32(now-row.Seen) > lifeUDPAnswered)
}

func isOpening(tcp uint8) bool {
	const syn, ack = 2, 16
	return tcp&(syn|ack) == syn
}

// openerOf says who opened a connection whose first packet this is.
func openerOf(q plain) uint8 {
	if q.flow.Protocol == unix.IPPROTO_TCP && !isOpening(q.tcp) {
		return 0
	}
	if q.direction == 1 {
		return bpf.ConnectionOpened | bpf.ConnectionOpenedB
	}
	return bpf.ConnectionOpened
}
