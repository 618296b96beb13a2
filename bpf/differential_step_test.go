// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/bpf/model"
)

// step is one thing that happens to a node: exactly one of its fields is set. It holds all
// that is needed to do it again.
type step struct {
	Packet *met
	Change *change
	Age    *age
	// Flags are given to all connections: so many answers, or resets, come in.
	Flags uint8
}

// met is a packet and where it is met.
type met struct {
	model.Meeting
	Bytes []byte
}

// change is what an agent does: other rows, then another epoch. What it has no value for is
// removed.
type change struct {
	Range      netip.Prefix
	AsRange    *model.Range
	Endpoint   netip.Addr
	AsEndpoint *model.Endpoint
	Peer       netip.Addr
	AsPeer     bool
	Policy     *policyChange
}

// age lets time pass for rows of the table of connections.
type age struct {
	Row           int    // everyRow: all
	Seen, Checked uint32 // ticks
}

const everyRow = -1

func (s step) String() string {
	switch {
	case s.Change != nil:
		c := s.Change
		switch {
		case c.Range.IsValid():
			return fmt.Sprintf("range %s becomes %s, next epoch\n", c.Range, orNone(c.AsRange))
		case c.Endpoint.IsValid():
			return fmt.Sprintf("endpoint %s becomes %s, next epoch\n", c.Endpoint, orNone(c.AsEndpoint))
		case c.Peer.IsValid():
			return fmt.Sprintf("peer %s: %v, next epoch\n", c.Peer, c.AsPeer)
		}
		if c.Policy != nil {
			return fmt.Sprintf("%+v, next epoch\n", *c.Policy)
		}
		return "next epoch\n"
	case s.Age != nil:
		return fmt.Sprintf("row %d ages: %+v\n", s.Age.Row, *s.Age)
	case s.Flags != 0:
		return fmt.Sprintf("all connections get flags %#x\n", s.Flags)
	}
	return fmt.Sprintf("%s meets %d bytes: %+v\n%s", bpf.HookName(s.Packet.Hook), len(s.Packet.Bytes), s.Packet.Meeting, hex.Dump(s.Packet.Bytes))
}

func orNone[T any](v *T) string {
	if v == nil {
		return "none"
	}
	return fmt.Sprintf("%+v", *v)
}

// Why a packet was not judged.
var (
	errRefused    = errors.New("the kernel runs no program on such a packet")
	errClockMoved = errors.New("the clock moved meanwhile")
)

// difference is one between a program and the model.
type difference struct {
	what     string
	out      []byte
	expected model.Outcome
}

func (d *difference) Error() string {
	return fmt.Sprintf("%s\nfrom the program:\n%sfrom the model (action %d, %s):\n%s", d.what, hex.Dump(d.out), d.expected.Action,
		bpf.ReasonName(d.expected.Reason), hex.Dump(d.expected.Packet))
}

// apply does a step, to the kernel's side and the model's.
func (n *node) apply(s step) (model.Outcome, error) {
	switch {
	case s.Change != nil:
		return model.Outcome{}, n.change(*s.Change)
	case s.Age != nil:
		for i := range n.world.Table {
			if s.Age.Row == i || s.Age.Row == everyRow {
				s.Age.pass(&n.world.Table[i])
			}
		}
		return model.Outcome{}, n.putTable()
	case s.Flags != 0:
		for i := range n.world.Table {
			n.world.Table[i].Flags |= s.Flags
		}
		return model.Outcome{}, n.putTable()
	}
	return n.meet(*s.Packet)
}

// pass lets time pass for a row.
func (a age) pass(row *bpf.Connection) {
	row.Seen -= a.Seen
	for i := range row.Path {
		if k := row.Path[i].Kind; k == bpf.PathNative || k == bpf.PathTunnel {
			row.Path[i].Checked -= a.Checked
		}
	}
}

func (n *node) change(c change) error {
	var err error
	switch {
	case c.Range.IsValid() && c.AsRange != nil:
		n.world.Ranges[c.Range] = *c.AsRange
		err = n.putRange(c.Range, *c.AsRange)
	case c.Range.IsValid():
		delete(n.world.Ranges, c.Range)
		err = unlessMissing(n.k.maps["fl_ranges"].Delete(bpf.RangeKeyOf(c.Range)))
	case c.Endpoint.IsValid() && c.AsEndpoint != nil:
		n.world.Endpoints[c.Endpoint] = *c.AsEndpoint
		err = n.putEndpoint(c.Endpoint, *c.AsEndpoint)
	case c.Endpoint.IsValid():
		delete(n.world.Endpoints, c.Endpoint)
		err = unlessMissing(n.k.maps["fl_endpoints"].Delete(bpf.AddressOf(c.Endpoint)))
	case c.Peer.IsValid() && c.AsPeer:
		n.world.Peers[c.Peer] = true
		err = n.k.maps["fl_peers"].Put(bpf.AddressOf(c.Peer), bpf.Peer{Known: 1})
	case c.Peer.IsValid():
		delete(n.world.Peers, c.Peer)
		err = unlessMissing(n.k.maps["fl_peers"].Delete(bpf.AddressOf(c.Peer)))
	}
	if c.Policy != nil {
		err = errors.Join(err, n.changePolicy(*c.Policy))
	}
	n.world.Epoch++
	return errors.Join(err, n.putEpoch())
}

func unlessMissing(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

// tick is that of connection.h.
func tick() (uint32, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return 0, fmt.Errorf("clock: %w", err)
	}
	return uint32(ts.Nano() >> bpf.TickShift), nil
}

// meet gives a packet to a program and to the model, and compares. An error that is no
// *difference tells why they could not be compared.
func (n *node) meet(m met) (model.Outcome, error) {
	before, err := tick()
	if err != nil {
		return model.Outcome{}, err
	}
	action, out, err := n.run(m)
	if errors.Is(err, unix.EINVAL) {
		return model.Outcome{}, errRefused
	}
	if err != nil {
		return model.Outcome{}, err
	}
	after, err := tick()
	if err != nil {
		return model.Outcome{}, err
	}
	want := n.world.Decide(m.Meeting, m.Bytes, before)
	if before != after {
		return want, errors.Join(errClockMoved, n.forgetConnections())
	}
	totals, err := n.readTotals()
	if err != nil {
		return want, err
	}
	problems := append(compareBytes(want, action, out), compareTotals(m.Hook, want, n.totals, totals)...)
	n.totals = totals
	rows, err := n.compareRows(want)
	if err != nil {
		return want, err
	}
	if problems = append(problems, rows...); len(problems) > 0 {
		return want, &difference{strings.Join(problems, "\n"), out, want}
	}
	return want, nil
}

// run meets a packet in the kernel.
func (n *node) run(m met) (action uint32, out []byte, err error) {
	prog := n.program(m.Meeting)
	const ingressField, ifindexField, gsoField = 9, 10, 44 // of struct __sk_buff, in words
	context := [48]uint32{ingressField: m.Ingress, ifindexField: m.Ifindex, gsoField: uint32(m.Segment)}
	opts := &ebpf.RunOptions{Data: m.Bytes, DataOut: make([]byte, len(m.Bytes)+256), Context: context}
	n.space.do(func() { action, err = prog.Run(opts) })
	return action, opts.DataOut, err
}

func compareBytes(want model.Outcome, action uint32, out []byte) []string {
	if action != want.Action {
		return []string{fmt.Sprintf("action %d, want %d", action, want.Action)}
	}
	skip := 0
	if want.AnyMACs {
		skip = 12
	}
	if len(out) != len(want.Packet) || !bytes.Equal(out[skip:], want.Packet[skip:]) {
		return []string{"the packets differ"}
	}
	return nil
}
