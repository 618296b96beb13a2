// SPDX-License-Identifier: Apache-2.0

package services

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where cgroups of version 2 are mounted.
func cgroupRoot() (string, error) {
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if err := unix.Statfs(root, &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return root, nil
		}
	}
	return "", errors.New("cgroup2 is not mounted at /sys/fs/cgroup or /sys/fs/cgroup/unified: mount it there")
}

// makeCgroup makes a cgroup of version 2 below the root of the one that is mounted. Whoever
// makes it removes it.
func makeCgroup(name string) (string, error) {
	root, err := cgroupRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, fmt.Sprintf("fairlead-bench-%d-%s", os.Getpid(), name))
	return dir, os.Mkdir(dir, 0o755)
}

// within does something with this process in a cgroup, so that the programs there look at
// the sockets that it makes.
func within(cgroup string, do func() error) (err error) {
	root, err := cgroupRoot()
	if err != nil {
		return err
	}
	was, err := ownCgroup()
	if err != nil {
		return err
	}
	if err := enter(cgroup); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, enter(filepath.Join(root, was))) }()
	return do()
}

func enter(cgroup string) error {
	err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
	if err != nil {
		return fmt.Errorf("enter cgroup %s: %w", cgroup, err)
	}
	return nil
}

// ownCgroup is the cgroup that this process is in, as seen from the root.
func ownCgroup() (string, error) {
	const file = "/proc/self/cgroup"
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s names no cgroup of version 2", file)
}
