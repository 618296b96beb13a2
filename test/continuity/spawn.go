// SPDX-License-Identifier: Apache-2.0

package continuity

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
)

// spawned names the address that a process of Spawn serves.
const spawned = "FAIRLEAD_CONTINUITY_SERVE"

// ServeIfSpawned is called first by the main function of a program that uses Spawn. In a
// process that Spawn started it serves until its input ends, and does not return.
func ServeIfSpawned() {
	at := os.Getenv(spawned)
	if at == "" {
		return
	}
	if err := serveUntilEnd(at); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveUntilEnd(at string) error {
	addr, err := netip.ParseAddrPort(at)
	if err != nil {
		return fmt.Errorf("%s: %w", spawned, err)
	}
	s, err := Serve(context.Background(), addr)
	if err != nil {
		return err
	}
	fmt.Println("serving")
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, s.Close())
}

// Spawn serves in a process of its own: one process may not have the descriptors of both
// ends of many connections. It ends with stop, and with the caller's process.
func Spawn(in Namespace, at netip.AddrPort) (stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("continuity: %w", err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), spawned+"="+at.String())
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	input, err1 := cmd.StdinPipe()
	output, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, in(cmd.Start)); err != nil {
		return nil, fmt.Errorf("continuity: serve %s: %w", at, err)
	}
	stop = func() error { return errors.Join(input.Close(), cmd.Wait()) }
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil || line != "serving\n" {
		return nil, errors.Join(fmt.Errorf("continuity: serve %s: %q", at, line), err, stop())
	}
	return stop, nil
}
