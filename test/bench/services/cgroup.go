// SPDX-License-Identifier: Apache-2.0

package services

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// makeCgroup makes a cgroup of version 2 below the root of the one that is mounted. Whoever
// makes it removes it.
func makeCgroup() (string, error) {
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if err := unix.Statfs(root, &st); err != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		dir := filepath.Join(root, fmt.Sprintf("fairlead-bench-%d", os.Getpid()))
		return dir, os.Mkdir(dir, 0o755)
	}
	return "", errors.New("cgroup2 is not mounted at /sys/fs/cgroup or /sys/fs/cgroup/unified: mount it there")
}
