// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
	bpflink "github.com/cilium/ebpf/link"
)

func attachTCX(pin string, ifindex int, dir Direction, prog *ebpf.Program) error {
	exchanged, err := exchangeTCX(pin, ifindex, prog)
	if err != nil || exchanged {
		return err
	}
	attachType := ebpf.AttachTCXIngress
	if dir == Egress {
		attachType = ebpf.AttachTCXEgress
	}
	l, err := bpflink.AttachTCX(bpflink.TCXOptions{Interface: ifindex, Program: prog, Attach: attachType})
	if err != nil {
		return err
	}
	defer l.Close()
	// Packets meet the link before a filter, so none is seen by two programs of ours.
	if err := Detach(pin); err != nil {
		return err
	}
	if err := l.Pin(pin); err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	return nil
}

// exchangeTCX updates a pinned link. It reports false when there is none, or one to a
// device that is gone, whose pin it removes.
func exchangeTCX(pin string, ifindex int, prog *ebpf.Program) (bool, error) {
	l, err := bpflink.LoadPinnedLink(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer l.Close()
	tcx, _, err := tcxInfo(l)
	if err != nil {
		return false, err
	}
	if int(tcx.Ifindex) != ifindex {
		return false, removePin(pin)
	}
	if err := l.Update(prog); err != nil {
		return false, fmt.Errorf("exchange the program: %w", err)
	}
	return true, nil
}

// endTCX detaches a pinned link and removes its pin, if there is one. The kernel would
// detach it by that as well, but some time later.
func endTCX(pin string) error {
	l, err := bpflink.LoadPinnedLink(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.Detach(); err != nil {
		return fmt.Errorf("detach the tcx link: %w", err)
	}
	return removePin(pin)
}

// tcxAttachment returns the index of the device of a pinned link, 0 when the device is
// gone, and the number of its program.
func tcxAttachment(pin string) (int, ebpf.ProgramID, error) {
	l, err := bpflink.LoadPinnedLink(pin, nil)
	if err != nil {
		return 0, 0, err
	}
	defer l.Close()
	tcx, id, err := tcxInfo(l)
	if err != nil {
		return 0, 0, err
	}
	return int(tcx.Ifindex), id, nil
}

func tcxInfo(l bpflink.Link) (*bpflink.TCXInfo, ebpf.ProgramID, error) {
	info, err := l.Info()
	if err != nil {
		return nil, 0, err
	}
	tcx := info.TCX()
	if tcx == nil {
		return nil, 0, fmt.Errorf("is of type %v, not tcx", info.Type)
	}
	return tcx, info.Program, nil
}
