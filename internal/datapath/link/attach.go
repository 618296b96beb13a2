// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
	bpflink "github.com/cilium/ebpf/link"
)

// Direction is a side of a device's traffic, seen from the device.
type Direction int

// Ingress is what a device receives, Egress what it sends.
const (
	Ingress Direction = iota
	Egress
)

func (d Direction) attachType() ebpf.AttachType {
	if d == Egress {
		return ebpf.AttachTCXEgress
	}
	return ebpf.AttachTCXIngress
}

// Attach makes prog the program of a device and pins the attachment. When it is attached
// already, the program is exchanged in one step and no packet meets none.
func Attach(pin string, ifindex int, dir Direction, prog *ebpf.Program) error {
	exchanged, err := exchange(pin, ifindex, prog)
	if err != nil || exchanged {
		return err
	}
	l, err := bpflink.AttachTCX(bpflink.TCXOptions{Interface: ifindex, Program: prog, Attach: dir.attachType()})
	if err != nil {
		return fmt.Errorf("attach %s to device %d: %w", pin, ifindex, err)
	}
	defer l.Close()
	if err := l.Pin(pin); err != nil {
		return fmt.Errorf("attach: pin %s: %w", pin, err)
	}
	return nil
}

// exchange updates a pinned attachment. It reports false when there is none, or one to a
// device that is gone, whose pin it removes.
func exchange(pin string, ifindex int, prog *ebpf.Program) (bool, error) {
	l, err := bpflink.LoadPinnedLink(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("attachment %s: %w", pin, err)
	}
	defer l.Close()
	at, err := attachedTo(l)
	if err != nil {
		return false, fmt.Errorf("attachment %s: %w", pin, err)
	}
	if at != ifindex {
		return false, Detach(pin)
	}
	if err := l.Update(prog); err != nil {
		return false, fmt.Errorf("attachment %s: exchange the program: %w", pin, err)
	}
	return true, nil
}

// attachedTo returns the index of an attachment's device, 0 when the device is gone.
func attachedTo(l bpflink.Link) (int, error) {
	info, err := l.Info()
	if err != nil {
		return 0, err
	}
	tcx := info.TCX()
	if tcx == nil {
		return 0, fmt.Errorf("is of type %v, not tcx", info.Type)
	}
	return int(tcx.Ifindex), nil
}

// CheckAttached returns an error unless prog is attached to the device by this pin.
func CheckAttached(pin string, ifindex int, prog *ebpf.Program) error {
	l, err := bpflink.LoadPinnedLink(pin, nil)
	if err != nil {
		return fmt.Errorf("attachment %s: %w", pin, err)
	}
	defer l.Close()
	at, err := attachedTo(l)
	if err != nil {
		return fmt.Errorf("attachment %s: %w", pin, err)
	}
	if at != ifindex {
		return fmt.Errorf("attachment %s: is to device %d, not %d", pin, at, ifindex)
	}
	info, err := l.Info()
	if err != nil {
		return fmt.Errorf("attachment %s: %w", pin, err)
	}
	want, err := prog.Info()
	if err != nil {
		return fmt.Errorf("attachment %s: %w", pin, err)
	}
	if id, ok := want.ID(); !ok || id != info.Program {
		return fmt.Errorf("attachment %s: has program %d, not %d", pin, info.Program, id)
	}
	return nil
}

// Detach removes an attachment by its pin; that there is none is no error.
func Detach(pin string) error {
	if err := os.Remove(pin); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("detach: %w", err)
	}
	return nil
}
