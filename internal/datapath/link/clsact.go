// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A filter of ours is the one at this priority and handle whose name begins with
// filterPrefix; the pin's last element follows, so that it is known whose it is, and
// madeQdisc when the qdisc was made for it. The handle is one that nobody else chooses by
// default (others start at 1), so that a filter of another at the same priority stays.
const (
	filterPriority = 1
	filterHandle   = 0xfa1ead
	filterPrefix   = "fairlead_"
	madeQdisc      = ",qdisc"
)

// attachClsact needs no pin to find its filter again: the kernel exchanges the program of
// a filter with the same priority and handle in one step. The note is for Detach.
func attachClsact(pin string, ifindex int, dir Direction, prog *ebpf.Program) error {
	at := place{ifindex, dir}
	former, noted, err := readNote(pin)
	if err != nil {
		return err
	}
	if noted && former != at {
		if err := Detach(pin); err != nil {
			return err
		}
		noted = false
	}
	made, err := ensureQdisc(ifindex)
	if err != nil {
		return err
	}
	name := filterPrefix + filepath.Base(pin)
	if made {
		name += madeQdisc
	}
	if err := netlink.FilterReplace(at.filter(name, prog)); err != nil {
		return errors.Join(at.explain(err), removeQdisc(ifindex, made))
	}
	if noted {
		return nil
	}
	if err := endTCX(pin); err != nil {
		return err
	}
	if err := os.Symlink(at.note(), pin); err != nil {
		return fmt.Errorf("note the filter: %w", err)
	}
	return nil
}

// clsactAttachment returns the index of the device of a filter and the number of its
// program.
func clsactAttachment(pin string, at place) (int, ebpf.ProgramID, error) {
	f, err := at.ours()
	if err != nil {
		return 0, 0, err
	}
	if f == nil || !belongs(f, pin) {
		return 0, 0, fmt.Errorf("device %d has no filter of ours at clsact %s", at.ifindex, at.dir)
	}
	return at.ifindex, ebpf.ProgramID(f.Id), nil
}

// detachClsact removes the filter of a pin, and the qdisc if it was made for a filter of
// ours and holds nothing any more. A device whose index is another's by now is spared.
func detachClsact(pin string, at place) error {
	f, err := at.ours()
	if err != nil || f == nil || !belongs(f, pin) {
		return err
	}
	return at.remove(f)
}

// DetachAll removes every filter of ours in the namespace of the calling thread, whether
// it is noted or not. Pinned links go with their pins.
func DetachAll() error {
	qdiscs, err := netlink.QdiscList(nil)
	if err != nil {
		return fmt.Errorf("detach: qdiscs: %w", err)
	}
	var errs []error
	for _, q := range qdiscs {
		if q.Type() != "clsact" {
			continue
		}
		for _, dir := range []Direction{Ingress, Egress} {
			at := place{q.Attrs().LinkIndex, dir}
			f, err := at.ours()
			if err == nil && f != nil {
				err = at.remove(f)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("detach: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

func clsact(ifindex int) *netlink.GenericQdisc {
	return &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
}

// ensureQdisc makes the device's clsact qdisc unless there is one, and says whether it is
// of our making, now or before.
func ensureQdisc(ifindex int) (made bool, err error) {
	err = netlink.QdiscAdd(clsact(ifindex))
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, unix.EEXIST) {
		return false, fmt.Errorf("add a clsact qdisc: %w", err)
	}
	for _, dir := range []Direction{Ingress, Egress} {
		f, err := place{ifindex, dir}.ours()
		if err != nil {
			return false, err
		}
		if f != nil && strings.HasSuffix(f.Name, madeQdisc) {
			return true, nil
		}
	}
	return false, checkQdisc(ifindex)
}

// checkQdisc refuses an ingress qdisc, which is in the place of a clsact one and would run
// programs for egress at ingress.
func checkQdisc(ifindex int) error {
	qdiscs, err := netlink.QdiscList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: ifindex}})
	if err != nil {
		return fmt.Errorf("qdiscs: %w", err)
	}
	for _, q := range qdiscs {
		if q.Attrs().Parent == netlink.HANDLE_CLSACT && q.Type() != "clsact" {
			return fmt.Errorf("the device has a qdisc of kind %s, where one of kind clsact is needed: replace it", q.Type())
		}
	}
	return nil
}

// removeQdisc removes the qdisc of a device if it is ours and has no filter.
func removeQdisc(ifindex int, ours bool) error {
	if !ours {
		return nil
	}
	for _, dir := range []Direction{Ingress, Egress} {
		filters, err := place{ifindex, dir}.filters()
		if err != nil || len(filters) > 0 {
			return err
		}
	}
	if err := netlink.QdiscDel(clsact(ifindex)); err != nil && !isGone(err) {
		return fmt.Errorf("device %d: remove the clsact qdisc: %w", ifindex, err)
	}
	return nil
}

// belongs says whether a filter of ours is that of a pin.
func belongs(f *netlink.BpfFilter, pin string) bool {
	return strings.TrimSuffix(f.Name, madeQdisc) == filterPrefix+filepath.Base(pin)
}
