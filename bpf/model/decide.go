// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"
	"slices"

	"github.com/fairlead-io/fairlead/bpf"
)

// Actions of a program.
const (
	Pass     = 0xffffffff // to the stack, after others on the device have seen it
	Drop     = 2
	Redirect = 7
)

// Meeting is where and how a packet is met.
type Meeting struct {
	Hook    bpf.Hook
	Ifindex uint32
	// Ingress is the device that a packet came in by which the stack sends on.
	Ingress uint32
	// Key tells that the packet has a tunnel key, with its network and the other end.
	Key    bool
	VNI    uint32
	Sender netip.Addr
	// Mine tells that the packet's MAC address is that of the device.
	Mine bool
	// Tagged tells that it belongs to a VLAN.
	Tagged bool
	// Deferred tells that it carries from_pod's mark of packets whose pod's policies are yet
	// to be asked.
	Deferred bool
	// Past tells that it carries from_pod's mark of packets that were not in the stack.
	Past bool
	// Segment is the payload of those packets that this one is yet to be cut into, in bytes;
	// 0: it is whole.
	Segment int
}

// Outcome is what becomes of a packet.
type Outcome struct {
	Action  uint32
	Packet  []byte
	AnyMACs bool // the first 12 bytes are yet to be written by the kernel
	Counted bool
	Reason  bpf.Reason
	// Events are what the table of connections counts.
	Events []bpf.FlowEvent
	// Deferred tells that it carries the mark afterwards.
	Deferred bool
	// Noted is the flow that is noted to go via the stack, if it was not before.
	Noted *bpf.Flow
}

// Decide says what becomes of a packet that is met at a tick, and changes what the world
// remembers.
func (w *World) Decide(m Meeting, p []byte, now uint32) Outcome {
	w.judged = judgement{marked: m.Deferred}
	out := w.decide(m, p, now)
	out.Deferred = w.judged.marked
	out.Events = append(w.judged.events, out.Events...)
	return out
}

func (w *World) decide(m Meeting, p []byte, now uint32) Outcome {
	switch m.Hook {
	case bpf.HookFromPod:
		return w.fromPod(m, p, now)
	case bpf.HookToPod:
		return w.toPod(m, p, now)
	case bpf.HookFromOverlay:
		return w.fromOverlay(m, p, now)
	case bpf.HookToOverlay:
		return w.toOverlay(m, p, now)
	case bpf.HookFromUplink:
		return w.fromUplink(m, p, now)
	}
	return w.toUplink(m, p, now)
}

func quiet(p []byte) Outcome { return Outcome{Action: Pass, Packet: p} }

func pass(p []byte, r bpf.Reason) Outcome {
	return Outcome{Action: Pass, Packet: p, Counted: true, Reason: r}
}

func drop(p []byte, r bpf.Reason) Outcome {
	return Outcome{Action: Drop, Packet: p, Counted: true, Reason: r}
}

func redirect(p []byte, r bpf.Reason) Outcome {
	return Outcome{Action: Redirect, Packet: p, Counted: true, Reason: r}
}

func isIP(p []byte) bool { return etherType(p) == typeIPv4 || etherType(p) == typeIPv6 }

func parsePacket(p []byte) (parsed, bool) { return parse(p, ethernet, etherType(p) == typeIPv6) }

func withMACs(p []byte, to, from MAC) []byte {
	out := slices.Clone(p)
	copy(out, to[:])
	copy(out[6:], from[:])
	return out
}

func (w *World) fromPod(m Meeting, p []byte, now uint32) Outcome {
	if m.Tagged {
		return drop(p, bpf.ReasonDropProtocol) // a pod's link has no VLANs
	}
	q, isPlain := readPlain(p, ethernet, etherType(p))
	switch {
	case isPlain:
	case etherType(p) == typeARP:
		return w.answerARP(m, p)
	case etherType(p) == typeIPv6 && len(p) > ethernet+header6 && p[ethernet+6] == 58 && p[ethernet+header6] >= 133 && p[ethernet+header6] <= 137:
		return w.answerND(m, p)
	case !isIP(p):
		return drop(p, bpf.ReasonDropProtocol)
	}
	x, ok := parsePacket(p)
	if !ok {
		return drop(p, bpf.ReasonDropTruncated)
	}
	if isMulticast(x.dst) {
		return drop(p, bpf.ReasonDropMulticast)
	}
	if !w.owns(m.Ifindex, x.src) {
		return drop(p, bpf.ReasonDropSource)
	}
	if why, ok := w.police(m, x, false, now); !ok {
		return drop(p, why)
	}
	ep, here := w.Endpoints[x.dst]
	_, r, known := w.rangeOf(x.dst)
	switch {
	case !here && (!known || r.Local):
		return pass(p, bpf.ReasonStack)
	case x.fragment:
		return pass(p, bpf.ReasonFragment)
	case x.hasFlow && w.Noted[x.flow]:
		return pass(p, bpf.ReasonViaStack)
	case here:
		out := redirect(withMACs(p, ep.MAC, w.Router), bpf.ReasonLocal)
		if isPlain {
			w.remember(&out, q, w.podPath(ep, m.Ifindex, 0), netip.Addr{}, now, false)
		}
		return out
	case ipSize(m, p, q, isPlain) > r.MTU:
		return pass(p, bpf.ReasonTooBig)
	}
	return w.toNode(m, p, q, isPlain, x.dst, r, now)
}

func (w *World) podPath(ep Endpoint, from uint32, flags uint8) bpf.Path {
	return bpf.Path{From: from, Ifindex: ep.Ifindex, ToMac: ep.MAC, FromMac: w.Router, Mtu: 0xffff, Kind: bpf.PathPod, Flags: flags}
}

// longestHeaders are those of IP and TCP with all options, for packets that are not looked
// into.
const longestHeaders = 120

// ipSize is that of the IP packet, or of the largest that it is yet to be cut into.
func ipSize(m Meeting, p []byte, q plain, isPlain bool) int {
	switch {
	case m.Segment == 0:
		return len(p) - ethernet
	case isPlain:
		return q.headers + m.Segment
	}
	return longestHeaders + m.Segment
}

// toNode sends a pod's packet to another node.
func (w *World) toNode(m Meeting, p []byte, q plain, isPlain bool, dst netip.Addr, r Range, now uint32) Outcome {
	path := bpf.Path{From: m.Ifindex, Mtu: uint16(r.MTU), Kind: bpf.PathNative, Checked: now}
	hop, ok := w.nativeHop(dst)
	if !r.Native {
		path.Kind = bpf.PathTunnel
		hop, ok = w.TunnelHops[r.Tunnel]
		ok = ok && w.Uplink != 0
	}
	if !ok && r.Native {
		return pass(p, bpf.ReasonStack)
	}
	toDevice := redirect(withMACs(p, w.Router, w.Router), bpf.ReasonTunnel)
	if !ok {
		w.rememberOpener(&toDevice, q, isPlain, now)
		return toDevice
	}
	var out Outcome
	switch {
	case r.Native:
		out = redirect(withMACs(p, hop.To, hop.From), bpf.ReasonNative)
		out.AnyMACs = !hop.Resolved
	case m.Segment != 0:
		out = toDevice // a test run cannot say what kind of segments, and the kernel must know
	default:
		port := uint16(0xc000) // of what has no connection
		if isPlain {
			port |= uint16(Hash(q.flow, Seed)>>16) & 0x3fff
		}
		out = redirect(w.outer(p, hop, r.Tunnel, port), bpf.ReasonTunnel)
		out.AnyMACs = !hop.Resolved
	}
	if isPlain && hop.Resolved {
		path.Ifindex, path.ToMac, path.FromMac = hop.Ifindex, hop.To, hop.From
		w.remember(&out, q, path, r.Tunnel, now, false)
	} else {
		w.rememberOpener(&out, q, isPlain, now)
	}
	return out
}

// rememberOpener notes who opened a connection whose way cannot be remembered yet, unless its
// verdict tells.
func (w *World) rememberOpener(out *Outcome, q plain, isPlain bool, now uint32) {
	if isPlain && w.judged.verdict == 0 {
		w.write(out, q, bpf.Path{}, netip.Addr{}, now)
	}
}

func (w *World) toPod(m Meeting, p []byte, now uint32) Outcome {
	if !isIP(p) {
		return pass(p, bpf.ReasonOther)
	}
	x, ok := parsePacket(p)
	if !ok {
		return drop(p, bpf.ReasonDropTruncated)
	}
	noted := w.note(x)
	out := pass(p, bpf.ReasonDelivered)
	if why, ok := w.police(m, x, m.Ingress == 0 || m.Ingress == m.Ifindex, now); !ok {
		out = drop(p, why)
	}
	w.judged.marked = false
	out.Noted = noted
	return out
}

// note remembers a flow that came out of the stack, and returns it; its connection's row is
// free then.
func (w *World) note(x parsed) *bpf.Flow {
	if !x.hasFlow || x.icmpError || !w.isPod(x.src) || w.Noted[x.flow] {
		return nil
	}
	w.Noted[x.flow] = true
	w.Table.forget(x.flow)
	return &x.flow
}

func (w *World) toOverlay(m Meeting, p []byte, now uint32) Outcome {
	if m.Key {
		return quiet(p)
	}
	if !isIP(p) {
		return drop(p, bpf.ReasonDropProtocol)
	}
	x, ok := parsePacket(p)
	if !ok {
		return drop(p, bpf.ReasonDropTruncated)
	}
	if isMulticast(x.dst) {
		return drop(p, bpf.ReasonDropMulticast)
	}
	if _, r, known := w.rangeOf(x.dst); !known || r.Local {
		return drop(p, bpf.ReasonDropNoPeer)
	}
	out := pass(p, bpf.ReasonTunnel)
	out.Noted = w.note(x)
	if why, ok := w.policeLeaving(m, x, now); !ok {
		noted := out.Noted
		out = drop(p, why)
		out.Noted = noted
	}
	return out
}

func (w *World) toUplink(m Meeting, p []byte, now uint32) Outcome {
	if m.Past || m.Ingress == 0 || !isIP(p) {
		return quiet(p)
	}
	x, ok := parsePacket(p)
	if !ok && m.Deferred {
		return Outcome{Action: Drop, Packet: p}
	}
	if !ok {
		return quiet(p)
	}
	if why, ok := w.policeLeaving(m, x, now); !ok {
		return drop(p, why)
	}
	if _, r, known := w.rangeOf(x.dst); !known || r.Local {
		return quiet(p)
	}
	out := pass(p, bpf.ReasonNative)
	out.Noted = w.note(x)
	return out
}

func (w *World) fromOverlay(m Meeting, p []byte, now uint32) Outcome {
	if !m.Key || m.VNI != w.VNI {
		return drop(p, bpf.ReasonDropVNI)
	}
	if !isIP(p) {
		return drop(p, bpf.ReasonDropProtocol)
	}
	x, ok := parsePacket(p)
	if !ok {
		return drop(p, bpf.ReasonDropTruncated)
	}
	if isMulticast(x.dst) {
		return drop(p, bpf.ReasonDropMulticast)
	}
	_, from, known := w.rangeOf(x.src)
	switch {
	case known && from.Local:
		return drop(p, bpf.ReasonDropSource)
	case known && from.Tunnel != m.Sender, !known && !w.Peers[m.Sender]:
		return drop(p, bpf.ReasonDropStranger)
	}
	if why, ok := w.police(m, x, false, now); !ok {
		return drop(p, why)
	}
	ep, here := w.Endpoints[x.dst]
	if !here {
		if _, to, ok := w.rangeOf(x.dst); ok && to.Local {
			return pass(p, bpf.ReasonStack)
		}
		return drop(p, bpf.ReasonDropNotHere)
	}
	switch {
	case !known:
		return pass(p, bpf.ReasonStack)
	case x.fragment:
		return pass(p, bpf.ReasonFragment)
	case x.hasFlow && w.Noted[x.flow]:
		return pass(p, bpf.ReasonViaStack)
	}
	out := redirect(withMACs(p, ep.MAC, w.Router), bpf.ReasonLocal)
	if q, ok := readPlain(p, ethernet, etherType(p)); ok && w.Uplink != 0 {
		w.remember(&out, q, w.podPath(ep, w.Uplink, bpf.PathFromTunnel), m.Sender, now, true)
	}
	return out
}

func (w *World) fromUplink(m Meeting, p []byte, now uint32) Outcome {
	if !m.Mine || m.Tagged {
		return quiet(p)
	}
	if inner, sender, ok := w.tunnelPacket(p); ok {
		return w.fromTunnel(m, p, inner, sender, now)
	}
	x, ok := parsePacket(p)
	if !isIP(p) || !w.isForPods(p) {
		return quiet(p)
	}
	if !ok {
		return drop(p, bpf.ReasonDropTruncated)
	}
	_, from, known := w.rangeOf(x.src)
	if known && from.Local {
		return drop(p, bpf.ReasonDropSource)
	}
	if why, ok := w.police(m, x, false, now); !ok {
		return drop(p, why)
	}
	ep, here := w.Endpoints[x.dst]
	switch {
	case !here || !known:
		return pass(p, bpf.ReasonStack)
	case x.fragment:
		return pass(p, bpf.ReasonFragment)
	case x.hasFlow && w.Noted[x.flow]:
		return pass(p, bpf.ReasonViaStack)
	}
	out := redirect(withMACs(p, ep.MAC, w.Router), bpf.ReasonLocal)
	if q, ok := readPlain(p, ethernet, etherType(p)); ok {
		w.remember(&out, q, w.podPath(ep, m.Ifindex, 0), netip.Addr{}, now, false)
	}
	return out
}

// isForPods looks only at where the destination would stand in a packet that is right.
func (w *World) isForPods(p []byte) bool {
	var dst netip.Addr
	if etherType(p) == typeIPv4 && len(p) >= ethernet+header4 {
		dst = netip.AddrFrom4([4]byte(p[ethernet+16:]))
	} else if etherType(p) == typeIPv6 && len(p) >= ethernet+header6 {
		dst = netip.AddrFrom16([16]byte(p[ethernet+24:]))
	}
	return slices.ContainsFunc(w.Pods, func(r netip.Prefix) bool { return r.Contains(dst) })
}
