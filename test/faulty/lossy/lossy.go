// SPDX-License-Identifier: Apache-2.0

// Package lossy is a datapath that drops 2 % of what other nodes send to pods, and nothing
// else: every agent that runs it is Ready and has acknowledged its state.
package lossy

import (
	"encoding/binary"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// OneOf is how many packets there are for each that is dropped.
const OneOf = 50

// Pods says what packets to pods look like on the device to other nodes.
type Pods struct {
	// Range4 and Range6 are the node's own; invalid: none of that family.
	Range4, Range6 netip.Prefix
	// TunnelPort is that of the tunnel.
	TunnelPort uint16
	// HasUplink says that the device is an Ethernet one, which has a program.
	HasUplink bool
}

// What is read of a packet: from the type of its frame to the UDP header of an IPv6 packet.
// Shorter ones are never dropped.
const (
	readFrom = 12
	readSize = 46
	stack    = -48 // where it is put, below the frame pointer

	ethertype = stack
	protocol4 = stack + 23 - readFrom
	to4       = stack + 30 - readFrom
	port4     = stack + 36 - readFrom
	protocol6 = stack + 20 - readFrom
	to6       = stack + 38 - readFrom
	port6     = stack + 56 - readFrom
)

// Prepend puts the loss before the program of an object that sees each packet of another node
// first; the other programs stay as they are.
func Prepend(spec *ebpf.CollectionSpec, program string, pods Pods) {
	p := spec.Programs[program]
	switch {
	case p == nil:
	case program == "from_uplink" && pods.HasUplink:
		p.Instructions = before(p.Instructions, pods.match())
	case program == "from_overlay" && !pods.HasUplink:
		p.Instructions = before(p.Instructions, nil)
	}
}

// to are the two ways on: names of instructions that jumps lead to.
const (
	keep = "lossy_keep"
	drop = "lossy_drop"
)

// before returns a program that drops one of 50 packets that match, and is the given one for
// the others.
func before(program, match asm.Instructions) asm.Instructions {
	ins := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.FnGetPrandomU32.Call(),
		asm.Mod.Imm32(asm.R0, OneOf),
		asm.JNE.Imm32(asm.R0, 0, keep),
	}
	ins = append(ins, match...)
	ins = append(ins,
		asm.Mov.Imm(asm.R0, 2).WithSymbol(drop), // TC_ACT_SHOT
		asm.Return(),
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol(keep),
	)
	resolve(ins)
	// The name and the type of the function are those of its first instruction.
	ins[0].Metadata = program[0].Metadata
	program[0].Metadata = asm.Metadata{}
	return append(ins, program...)
}

// resolve replaces names by distances, and forgets them: in a program, names are functions'.
func resolve(ins asm.Instructions) {
	at := map[string]int{}
	for i := range ins {
		if name := ins[i].Symbol(); name != "" {
			at[name] = i
			ins[i] = ins[i].WithSymbol("")
		}
	}
	for i := range ins {
		if name := ins[i].Reference(); name != "" {
			ins[i] = ins[i].WithReference("")
			ins[i].Offset = int16(at[name] - i - 1)
		}
	}
}

// match jumps to drop for packets to pods, and to keep for others.
func (p Pods) match() asm.Instructions {
	ins := asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, readFrom),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, stack),
		asm.Mov.Imm(asm.R4, readSize),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, keep),
		asm.LoadMem(asm.R1, asm.RFP, ethertype, asm.Half),
		asm.JEq.Imm(asm.R1, inMemory(0x86dd), "lossy_ipv6"),
		asm.JNE.Imm(asm.R1, inMemory(0x0800), keep),
	}
	ins = append(ins, p.tunnelled(protocol4, port4, "lossy_native4")...)
	ins = append(ins, named(within(p.Range4, to4), "lossy_native4")...)
	ins = append(ins, named(p.tunnelled(protocol6, port6, "lossy_native6"), "lossy_ipv6")...)
	return append(ins, named(within(p.Range6, to6), "lossy_native6")...)
}

func named(ins asm.Instructions, name string) asm.Instructions {
	ins[0] = ins[0].WithSymbol(name)
	return ins
}

// tunnelled jumps to drop for what is in the tunnel, and on for others.
func (p Pods) tunnelled(protocol, port int16, others string) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R1, asm.RFP, protocol, asm.Byte),
		asm.JNE.Imm(asm.R1, 17, others), // UDP
		asm.LoadMem(asm.R1, asm.RFP, port, asm.Half),
		asm.JEq.Imm(asm.R1, inMemory(p.TunnelPort), drop),
		asm.Ja.Label(others),
	}
}

// within jumps to drop when the address at a place is in the range, and to keep when not.
func within(r netip.Prefix, at int16) (ins asm.Instructions) {
	if !r.IsValid() {
		return asm.Instructions{asm.Ja.Label(keep)}
	}
	network := r.Masked().Addr().AsSlice()
	for i := 0; i < r.Bits(); i += 16 {
		mask := uint16(0xffff) << max(0, 16-(r.Bits()-i))
		ins = append(ins,
			asm.LoadMem(asm.R1, asm.RFP, at+int16(i/8), asm.Half),
			asm.And.Imm(asm.R1, inMemory(mask)),
			asm.JNE.Imm(asm.R1, inMemory(binary.BigEndian.Uint16(network[i/8:])), keep),
		)
	}
	return append(ins, asm.Ja.Label(drop))
}

// inMemory is a number of the network as the machine reads it.
func inMemory(n uint16) int32 {
	return int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n)))
}
