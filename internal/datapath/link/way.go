// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	bpflink "github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Way is a way of the kernel to attach a program to a device.
type Way int

// BestWay stands for TCX where the kernel has it, else Clsact.
const (
	BestWay Way = iota
	TCX         // a link, pinned: Linux 6.6 or newer
	Clsact      // a filter of the clsact qdisc
)

// String returns the way's name.
func (w Way) String() string {
	switch w {
	case TCX:
		return "tcx"
	case Clsact:
		return "clsact"
	}
	return "the best way"
}

// way is what Attach uses, and what was found once of the kernel.
var way struct {
	sync.Mutex
	wanted Way
	best   Way // BestWay before it was looked for
}

// UseWay makes Attach use a way whatever the kernel has, so that what older kernels need
// can be tried on a newer one. It does not touch what is attached.
func UseWay(w Way) {
	way.Lock()
	defer way.Unlock()
	way.wanted = w
}

// ChosenWay returns the way that Attach uses: TCX or Clsact.
func ChosenWay() (Way, error) {
	way.Lock()
	defer way.Unlock()
	if way.wanted != BestWay {
		return way.wanted, nil
	}
	if way.best != BestWay {
		return way.best, nil
	}
	switch err := haveTCX(); {
	case err == nil:
		way.best = TCX
	case errors.Is(err, ebpf.ErrNotSupported):
		way.best = Clsact
	default:
		return BestWay, err // it may know better the next time
	}
	return way.best, nil
}

// HaveWay returns nil when the kernel has a way to attach programs to devices, an error
// that wraps ebpf.ErrNotSupported when it has none. It changes nothing.
func HaveWay() error {
	err := haveTCX()
	if errors.Is(err, ebpf.ErrNotSupported) {
		return haveClsact()
	}
	return err
}

// haveTCX tries to attach to a device that cannot be: a kernel with tcx says that there is
// no such device.
func haveTCX() error {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "fl_probe",
		Type:         ebpf.SchedCLS,
		AttachType:   ebpf.AttachTCXIngress,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "GPL",
	})
	if err != nil {
		return err
	}
	defer prog.Close()
	const noDevice = 1<<31 - 1
	l, err := bpflink.AttachTCX(bpflink.TCXOptions{Interface: noDevice, Program: prog, Attach: ebpf.AttachTCXIngress})
	if err == nil {
		return l.Close()
	}
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// haveClsact makes a clsact qdisc on the loopback device of a network namespace that ends
// with it.
func haveClsact() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		const loopback = 1
		err := netlink.QdiscAdd(clsact(loopback))
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
			err = fmt.Errorf("%w: %w", err, ebpf.ErrNotSupported)
		}
		done <- err
	}()
	return <-done
}
