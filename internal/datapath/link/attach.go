// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
)

// Direction is a side of a device's traffic, seen from the device.
type Direction int

// Ingress is what a device receives, Egress what it sends.
const (
	Ingress Direction = iota
	Egress
)

// String returns the direction's name as tc writes it.
func (d Direction) String() string {
	if d == Egress {
		return "egress"
	}
	return "ingress"
}

// Attach makes prog the program of a device, in a way: BestWay, or Clsact. When it is attached already, the program is
// exchanged in one step and no packet meets none. The attachment outlives this process and
// is found again by the pin, a path below a BPF file system: what is there is a tcx link,
// or the note of a clsact filter where the kernel has no tcx (Linux before 6.6). One that
// was made in the other way is replaced, the old program going when the new one is there.
//
// The device must be in the network namespace of the calling thread, for all functions of
// this file.
func Attach(way Way, pin string, ifindex int, dir Direction, prog *ebpf.Program) error {
	if way == BestWay {
		chosen, err := ChosenWay()
		if err != nil {
			return fmt.Errorf("attach %s to device %d: %w", pin, ifindex, err)
		}
		way = chosen
	}
	var err error
	if way == Clsact {
		err = attachClsact(pin, ifindex, dir, prog)
	} else {
		err = attachTCX(pin, ifindex, dir, prog)
	}
	if err != nil {
		return fmt.Errorf("attach %s to device %d: %w", pin, ifindex, err)
	}
	return nil
}

// CheckAttached returns an error unless prog is attached to the device by this pin.
func CheckAttached(pin string, ifindex int, prog *ebpf.Program) error {
	at, noted, err := readNote(pin)
	if err != nil {
		return fmt.Errorf("attachment %s: %w", pin, err)
	}
	var device int
	var have ebpf.ProgramID
	if noted {
		device, have, err = clsactAttachment(pin, at)
	} else {
		device, have, err = tcxAttachment(pin)
	}
	if err != nil {
		return fmt.Errorf("attachment %s: %w", pin, err)
	}
	if device != ifindex {
		return fmt.Errorf("attachment %s: is to device %d, not %d", pin, device, ifindex)
	}
	want, err := prog.Info()
	if err != nil {
		return fmt.Errorf("attachment %s: %w", pin, err)
	}
	if id, ok := want.ID(); !ok || id != have {
		return fmt.Errorf("attachment %s: has program %d, not %d", pin, have, id)
	}
	return nil
}

// Detach removes an attachment by its pin; that there is none, or that its device is gone,
// is no error.
func Detach(pin string) error {
	at, noted, err := readNote(pin)
	if err == nil && noted {
		err = detachClsact(pin, at)
	}
	if err == nil {
		err = removePin(pin)
	}
	if err != nil {
		return fmt.Errorf("detach %s: %w", pin, err)
	}
	return nil
}

// removePin removes a pin or a note. A tcx link that is pinned nowhere else is detached.
func removePin(pin string) error {
	if err := os.Remove(pin); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
