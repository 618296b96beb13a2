// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// AttachCgroup makes prog the program of a cgroup's sockets beside those of others. When it
// is attached there already by this pin, the program is exchanged in one step; one that is
// attached to another cgroup is replaced, the old one going when the new one is there.
func AttachCgroup(pin, cgroup string, kind ebpf.AttachType, prog *ebpf.Program) error {
	if err := attachCgroup(pin, cgroup, kind, prog); err != nil {
		return fmt.Errorf("attach %s to cgroup %s: %w", pin, cgroup, err)
	}
	return nil
}

func attachCgroup(pin, cgroup string, kind ebpf.AttachType, prog *ebpf.Program) error {
	existing, err := link.LoadPinnedLink(pin, nil)
	switch {
	case err == nil:
		defer existing.Close() //nolint:errcheck // it stays pinned
		if isAt(existing, cgroup) && existing.Update(prog) == nil {
			return nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	fresh, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: kind, Program: prog})
	if err != nil {
		return err
	}
	defer fresh.Close() //nolint:errcheck // as above
	if err := removePin(pin); err != nil {
		return err
	}
	return fresh.Pin(pin)
}

// isAt says whether a link is attached to a cgroup.
func isAt(l link.Link, cgroup string) bool {
	info, err := l.Info()
	if err != nil || info.Cgroup() == nil {
		return false
	}
	st, err := os.Stat(cgroup)
	return err == nil && inode(st) == info.Cgroup().CgroupId
}

// CgroupMount finds where cgroup version 2 is mounted at or below a folder, as the calling
// process sees it.
func CgroupMount(below string) (string, error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // it was only read
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		left, right, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(left)
		if !ok || len(fields) < 5 || !strings.HasPrefix(right, "cgroup2 ") {
			continue
		}
		if at := fields[4]; at == below || strings.HasPrefix(at, strings.TrimSuffix(below, "/")+"/") {
			return at, nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", fmt.Errorf("no cgroup file system of version 2 is mounted at or below %s: mount one (mount -t cgroup2 cgroup2 %s), or name another place by the agent's flag --cgroup-root", below, below)
}
