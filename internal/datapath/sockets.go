// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/link"
	"github.com/fairlead-io/fairlead/internal/datapath/load"
)

// socketsPin stands for the node's sockets in the names of pins.
const socketsPin = "sockets"

// defaultCgroups is where cgroups are mounted on every distribution.
const defaultCgroups = "/sys/fs/cgroup"

// syncSockets attaches the programs at sockets to the cgroup of all that Services are
// balanced for, or detaches them.
func (d *Datapath) syncSockets() error {
	if !d.opts.Services {
		return detachSockets(d.pins)
	}
	root, err := cgroupRoot(d.opts.CgroupRoot, defaultCgroups)
	if err != nil {
		return err
	}
	for _, p := range bpf.SocketPrograms() {
		if err := link.AttachCgroup(d.pins.Link(socketsPin, p.Name), root, p.Attach, d.programs.AtSockets(p.Name)); err != nil {
			return err
		}
	}
	return nil
}

// detachSockets detaches the programs at sockets. What makes translations goes first.
func detachSockets(pins load.Pins) error {
	var errs []error
	all := bpf.SocketPrograms()
	for i := range all {
		errs = append(errs, link.DetachCgroup(pins.Link(socketsPin, all[len(all)-1-i].Name)))
	}
	return errors.Join(errs...)
}

// cgroupRoot returns the cgroup of version 2 that is wanted, or the root of the one that is
// mounted at a directory, or, where version 1 has that place, in unified below it.
func cgroupRoot(wanted, mounts string) (string, error) {
	candidates := []string{mounts, filepath.Join(mounts, "unified")}
	if wanted != "" {
		candidates = []string{wanted}
	}
	for _, dir := range candidates {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir, nil
		}
	}
	return "", fmt.Errorf("services: no cgroup v2 at %v: mount one there (mount -t cgroup2 none %s), or name another (agent flag --cgroup-root)",
		candidates, candidates[0])
}

// hostNetnsCookie is the number by which programs tell the calling thread's network
// namespace from others.
func hostNetnsCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("network namespace: socket: %w", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("network namespace: its cookie (Linux 5.14 or newer has it): %w", err)
	}
	return cookie, nil
}
