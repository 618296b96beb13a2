// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/fairlead-io/fairlead/bpf"
)

// Drops calls fn with packets that the programs drop from now on, until ctx ends. Each CPU
// tells of some hundred a second at each hook; Metrics counts all. Only one caller at a time
// gets them.
func (d *Datapath) Drops(ctx context.Context, fn func(Drop)) error {
	var r *ringbuf.Reader
	err := d.locked(ctx, func() (err error) {
		r, err = ringbuf.NewReader(d.maps.Drops)
		return err
	})
	if err != nil {
		return fmt.Errorf("drops: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { r.Close() })
	defer func() {
		if stop() {
			r.Close()
		}
	}()
	for {
		record, err := r.Read()
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("drops: %w", err)
		}
		if drop, ok := decodeDrop(record.RawSample); ok {
			fn(drop)
		}
	}
}

// decodeDrop reads a struct drop_event; false: it is none.
func decodeDrop(raw []byte) (Drop, bool) {
	var e bpf.DropEvent
	if len(raw) < binary.Size(e) {
		return Drop{}, false
	}
	if _, err := binary.Decode(raw, binary.NativeEndian, &e); err != nil {
		return Drop{}, false
	}
	d := Drop{
		Hook: bpf.HookName(bpf.Hook(e.Hook)), Reason: bpf.ReasonName(bpf.Reason(e.Reason)), Cause: CauseID(e.Cause),
		Source: netip.AddrPortFrom(bpf.Netip(e.Src), bpf.Port(e.Sport)), Dest: netip.AddrPortFrom(bpf.Netip(e.Dst), bpf.Port(e.Dport)),
		Protocol: e.Protocol, Bytes: e.Length,
	}
	switch e.Direction {
	case bpf.DirectionIngress:
		d.Direction = Ingress
	case bpf.DirectionEgress:
		d.Direction = Egress
	}
	return d, true
}
