// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
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
}

// Outcome is what becomes of a packet.
type Outcome struct {
	Action  uint32
	Packet  []byte
	AnyMACs bool // the first 12 bytes are yet to be written by the kernel
	Counted bool
	Reason  bpf.Reason
	// Created and DecidedAnew are what the table of connections counts; PerhapsAnew that a
	// way to another node is decided anew once in each tick.
	Created, DecidedAnew, PerhapsAnew bool
}

// Decide says what becomes of a packet, and changes what the world remembers.
func (w *World) Decide(m Meeting, p []byte) Outcome {
	switch m.Hook {
	case bpf.HookFromPod:
		return w.fromPod(m, p)
	case bpf.HookToPod:
		return w.toPod(p)
	case bpf.HookFromOverlay:
		return w.fromOverlay(m, p)
	case bpf.HookToOverlay:
		return w.toOverlay(m, p)
	case bpf.HookFromUplink:
		return w.fromUplink(m, p)
	}
	return w.toUplink(m, p)
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

func (w *World) fromPod(m Meeting, p []byte) Outcome {
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
	ep, here := w.Endpoints[x.dst]
	prefix, r, known := w.rangeOf(x.dst)
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
			w.remember(&out, q, w.podPath(ep, m.Ifindex, 0), netip.Addr{})
		}
		return out
	case len(p)-ethernet > r.MTU:
		return pass(p, bpf.ReasonTooBig)
	}
	return w.toNode(m, p, q, isPlain, prefix, r)
}

func (w *World) podPath(ep Endpoint, from uint32, flags uint8) bpf.Path {
	return bpf.Path{From: from, Ifindex: ep.Ifindex, ToMac: ep.MAC, FromMac: w.Router, Mtu: 0xffff, Kind: bpf.PathPod, Flags: flags}
}

// toNode sends a pod's packet to another node.
func (w *World) toNode(m Meeting, p []byte, q plain, isPlain bool, prefix netip.Prefix, r Range) Outcome {
	hop, ok := w.NativeHops[prefix]
	path := bpf.Path{From: m.Ifindex, Mtu: uint16(r.MTU), Kind: bpf.PathNative}
	if !r.Native {
		path.Kind = bpf.PathTunnel
		hop, ok = w.TunnelHops[r.Tunnel]
		ok = ok && w.Uplink != 0
	}
	path.Ifindex, path.ToMac, path.FromMac = hop.Ifindex, hop.To, hop.From
	var out Outcome
	switch {
	case !ok && r.Native:
		return pass(p, bpf.ReasonStack)
	case !ok:
		return redirect(withMACs(p, w.Router, w.Router), bpf.ReasonTunnel)
	case r.Native:
		out = redirect(withMACs(p, hop.To, hop.From), bpf.ReasonNative)
	default:
		port := uint16(0xc000) // of what has no connection
		if isPlain {
			port |= uint16(Hash(q.flow, Seed)>>16) & 0x3fff
		}
		out = redirect(w.outer(p, hop, r.Tunnel, port), bpf.ReasonTunnel)
	}
	out.AnyMACs = !hop.Resolved
	if isPlain && hop.Resolved {
		w.remember(&out, q, path, r.Tunnel)
	}
	return out
}

func (w *World) answerARP(m Meeting, p []byte) Outcome {
	if len(p) < ethernet+28 {
		return drop(p, bpf.ReasonDropTruncated)
	}
	a := p[ethernet:]
	sender, target := netip.AddrFrom4([4]byte(a[14:])), netip.AddrFrom4([4]byte(a[24:]))
	if binary.BigEndian.Uint16(a) != 1 || binary.BigEndian.Uint16(a[2:]) != typeIPv4 || binary.BigEndian.Uint16(a[6:]) != 1 || !slices.Contains(w.Gateways, target) {
		return drop(p, bpf.ReasonDropNeighbour)
	}
	if !w.owns(m.Ifindex, sender) {
		return drop(p, bpf.ReasonDropSource)
	}
	out := slices.Clone(p)
	copy(out, a[8:14])
	copy(out[6:], w.Router[:])
	b := out[ethernet:]
	b[7] = 2
	copy(b[8:], w.Router[:])
	copy(b[14:], target.AsSlice())
	copy(b[18:], a[8:18])
	return redirect(out, bpf.ReasonARPReply)
}

func (w *World) answerND(m Meeting, p []byte) Outcome {
	const solicitation, advertisement = ethernet + header6 + 24, ethernet + header6 + 32
	if len(p) < solicitation {
		return drop(p, bpf.ReasonDropTruncated)
	}
	ip, nd := p[ethernet:], p[ethernet+header6:]
	target, sender := netip.AddrFrom16([16]byte(nd[8:])), netip.AddrFrom16([16]byte(ip[8:]))
	if nd[0] != 135 || nd[1] != 0 || ip[7] != 255 || !slices.Contains(w.Gateways, target) {
		return drop(p, bpf.ReasonDropNeighbour)
	}
	if !sender.IsLinkLocalUnicast() && !w.owns(m.Ifindex, sender) {
		return drop(p, bpf.ReasonDropSource)
	}
	out := make([]byte, advertisement)
	copy(out, p[6:12])
	copy(out[6:], w.Router[:])
	copy(out[12:], p[12:14])
	ip, nd = out[ethernet:], out[ethernet+header6:]
	ip[0], ip[5], ip[6], ip[7] = 0x60, 32, 58, 255
	copy(ip[8:], target.AsSlice())
	copy(ip[24:], sender.AsSlice())
	nd[0], nd[4] = 136, 0xe0
	copy(nd[8:], target.AsSlice())
	nd[24], nd[25] = 2, 1
	copy(nd[26:], w.Router[:])
	binary.BigEndian.PutUint16(nd[2:], checksum(ip[8:40], []byte{0, 0, 0, 32, 0, 0, 0, 58}, nd))
	return redirect(out, bpf.ReasonNDReply)
}

// checksum is that of the Internet (RFC 1071).
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func (w *World) toPod(p []byte) Outcome {
	if !isIP(p) {
		return pass(p, bpf.ReasonOther)
	}
	if x, ok := parsePacket(p); ok {
		w.note(x)
	}
	return pass(p, bpf.ReasonDelivered)
}

// note remembers a flow that came out of the stack; its connection's row is free then.
func (w *World) note(x parsed) {
	if !x.hasFlow || x.icmpError || !w.isPod(x.src) || w.Noted[x.flow] {
		return
	}
	w.Noted[x.flow] = true
	delete(w.Rows, x.flow)
}

func (w *World) toOverlay(m Meeting, p []byte) Outcome {
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
	w.note(x)
	return pass(p, bpf.ReasonTunnel)
}

func (w *World) toUplink(m Meeting, p []byte) Outcome {
	if m.Ingress == 0 || !isIP(p) {
		return quiet(p)
	}
	x, ok := parsePacket(p)
	if !ok {
		return quiet(p)
	}
	if _, r, known := w.rangeOf(x.dst); !known || r.Local {
		return quiet(p)
	}
	w.note(x)
	return pass(p, bpf.ReasonNative)
}

func (w *World) fromOverlay(m Meeting, p []byte) Outcome {
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
		w.remember(&out, q, w.podPath(ep, w.Uplink, bpf.PathFromTunnel), m.Sender)
	}
	return out
}

func (w *World) fromUplink(m Meeting, p []byte) Outcome {
	if !m.Mine {
		return quiet(p)
	}
	if inner, sender, ok := w.tunnelPacket(p); ok {
		return w.fromTunnel(m, p, inner, sender)
	}
	x, ok := parsePacket(p)
	if !isIP(p) || !w.isForPods(p) {
		return quiet(p)
	}
	if !ok {
		return drop(p, bpf.ReasonDropTruncated)
	}
	_, from, known := w.rangeOf(x.src)
	ep, here := w.Endpoints[x.dst]
	switch {
	case known && from.Local:
		return drop(p, bpf.ReasonDropSource)
	case !here || !known:
		return pass(p, bpf.ReasonStack)
	case x.fragment:
		return pass(p, bpf.ReasonFragment)
	case x.hasFlow && w.Noted[x.flow]:
		return pass(p, bpf.ReasonViaStack)
	}
	out := redirect(withMACs(p, ep.MAC, w.Router), bpf.ReasonLocal)
	if q, ok := readPlain(p, ethernet, etherType(p)); ok {
		w.remember(&out, q, w.podPath(ep, m.Ifindex, 0), netip.Addr{})
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
