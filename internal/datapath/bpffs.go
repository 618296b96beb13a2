// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// isBPFFS says whether a BPF file system is mounted at a directory.
func isBPFFS(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return false, fmt.Errorf("BPF file system: %s: %w", dir, err)
	}
	return uint32(st.Type) == unix.BPF_FS_MAGIC, nil
}

// MountBPFFS mounts a BPF file system at the directory of the options unless there is
// one. An agent's container cannot do that for its node, a privileged one before it can.
func MountBPFFS(opts Options) error {
	opts = opts.withDefaults()
	return mountBPFFS(opts.BPFFS, opts.Log)
}

// mountBPFFS mounts a BPF file system unless there is one. In a container the mount must
// reach the host, or pins end with the container; so the directory should be a mount of
// the host's with bidirectional propagation, or hold one already.
func mountBPFFS(dir string, log *slog.Logger) error {
	mounted, err := isBPFFS(dir)
	if err != nil || mounted {
		return err
	}
	log.Warn("no BPF file system is mounted, mounting one", "dir", dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("BPF file system: %w", err)
	}
	if err := unix.Mount("bpf", dir, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("BPF file system: cannot mount one at %s: %w (mount it on the host: mount -t bpf bpf %s)", dir, err, dir)
	}
	return nil
}
