// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/fairlead-io/fairlead/bpf"
)

// mostVerified bounds what the verifier may go through for one program. The limit on the
// machine's own kernel is lower: older ones go through more for the same program.
const mostVerified = 30000

// verifyAll shows every program to the verifier.
func verifyAll(check func(what string, err error)) {
	for _, p := range bpf.Programs() {
		one(check, p.Load, p.Name)
	}
	for _, p := range bpf.SocketPrograms() {
		one(check, bpf.LoadSock, p.Name)
	}
	k, err := running()
	if err != nil {
		check("kernel", err)
		return
	}
	for _, name := range bpf.EndingPrograms() {
		if k.has(6, 5) {
			one(check, bpf.LoadSockEnd, name)
			continue
		}
		// Sockets can be ended since Linux 6.5; the agent goes without.
		_, err := verify(bpf.LoadSockEnd, name)
		if err == nil {
			err = fmt.Errorf("kernel %s takes it: say in docs/kernels.md since when sockets are ended", k.release)
		} else {
			fmt.Println(err)
			err = nil
		}
		check(fmt.Sprintf("verifier: %-15s refused, as it must be", name), err)
	}
}

func one(check func(what string, err error), load func() (*ebpf.CollectionSpec, error), name string) {
	verified, err := verify(load, name)
	if err == nil && verified > mostVerified {
		err = fmt.Errorf("%d instructions verified, at most %d are wanted", verified, mostVerified)
	}
	check(fmt.Sprintf("verifier: %-15s %6d instructions", name, verified), err)
}

// verify loads a program twice, with all settings at zero and with none at zero, since the
// verifier passes over code that settings switch off. It returns the larger number of
// instructions that were gone through.
func verify(load func() (*ebpf.CollectionSpec, error), name string) (uint32, error) {
	var most uint32
	for _, fill := range []byte{0, 1} {
		n, err := verifyWith(load, name, fill)
		if err != nil {
			return 0, err
		}
		most = max(most, n)
	}
	return most, nil
}

func verifyWith(load func() (*ebpf.CollectionSpec, error), name string, fill byte) (uint32, error) {
	spec, err := load()
	if err != nil {
		return 0, err
	}
	if spec.Programs[name] == nil {
		return 0, errors.New("its object does not hold it")
	}
	for other := range spec.Programs {
		if other != name {
			delete(spec.Programs, other)
		}
	}
	for setting, v := range spec.Variables {
		if !v.Constant() {
			continue
		}
		if err := v.Set(slices.Repeat([]byte{fill}, int(v.Size()))); err != nil {
			return 0, fmt.Errorf("setting %s: %w", setting, err)
		}
	}
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return 0, err
	}
	defer coll.Close()
	info, err := coll.Programs[name].Info()
	if err != nil {
		return 0, err
	}
	n, _ := info.VerifiedInstructions()
	return n, nil
}
