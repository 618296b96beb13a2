// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// place is one side of a clsact qdisc.
type place struct {
	ifindex int
	dir     Direction
}

// note is the target of the symbolic link that stands where a tcx link would be pinned: a
// BPF file system holds nothing else that can say where a filter is.
func (p place) note() string { return fmt.Sprintf("clsact:%d:%s", p.ifindex, p.dir) }

// readNote returns the place of a pin's filter, false when the pin is none, or no note.
func readNote(pin string) (place, bool, error) {
	target, err := os.Readlink(pin)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return place{}, false, nil
	}
	if err != nil {
		return place{}, false, err
	}
	for _, dir := range []Direction{Ingress, Egress} {
		p := place{dir: dir}
		if n, _ := fmt.Sscanf(target, "clsact:%d:", &p.ifindex); n == 1 && p.note() == target {
			return p, true, nil
		}
	}
	return place{}, false, fmt.Errorf("is a symbolic link to %q, which is no note of a filter: remove it", target)
}

func (p place) parent() uint32 {
	if p.dir == Egress {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

func (p place) filter(name string, prog *ebpf.Program) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: p.ifindex, Parent: p.parent(),
			Priority: filterPriority, Handle: filterHandle, Protocol: unix.ETH_P_ALL,
		},
		Fd: prog.FD(), Name: name, DirectAction: true,
	}
}

// filters returns all filters at the place.
func (p place) filters() ([]netlink.Filter, error) {
	device := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: p.ifindex}}
	filters, err := netlink.FilterList(device, p.parent())
	if err != nil {
		return nil, fmt.Errorf("device %d: filters at clsact %s: %w", p.ifindex, p.dir, err)
	}
	return filters, nil
}

// ours returns our filter at the place, nil when there is none.
func (p place) ours() (*netlink.BpfFilter, error) {
	filters, err := p.filters()
	if err != nil {
		return nil, err
	}
	for _, one := range filters {
		f, ok := one.(*netlink.BpfFilter)
		if ok && f.Priority == filterPriority && f.Handle == filterHandle && strings.HasPrefix(f.Name, filterPrefix) {
			return f, nil
		}
	}
	return nil, nil
}

// remove deletes our filter, and with the last one the qdisc that was made for it.
func (p place) remove(f *netlink.BpfFilter) error {
	if err := netlink.FilterDel(f); err != nil && !isGone(err) {
		return fmt.Errorf("device %d: remove the filter %s at clsact %s: %w", p.ifindex, f.Name, p.dir, err)
	}
	return removeQdisc(p.ifindex, strings.HasSuffix(f.Name, madeQdisc))
}

// isGone says whether an error is about what is gone already, alone or with its device.
func isGone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) }

// explain says what keeps a filter of ours from its priority: all filters of a priority
// are of one kind and one protocol.
func (p place) explain(err error) error {
	err = fmt.Errorf("add a filter at clsact %s: %w", p.dir, err)
	filters, listing := p.filters()
	if listing != nil {
		return err
	}
	for _, one := range filters {
		a := one.Attrs()
		if a.Priority == filterPriority && (one.Type() != "bpf" || a.Protocol != unix.ETH_P_ALL) {
			return fmt.Errorf("%w: its priority %d is taken by a filter of kind %s and protocol %#x: give that one a higher number", err, filterPriority, one.Type(), a.Protocol)
		}
	}
	return err
}
