// SPDX-License-Identifier: Apache-2.0

package link

import (
	"io/fs"
	"syscall"
)

// inode is the number of a file; of a folder of a cgroup file system it is the cgroup's.
func inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
