// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/test/lab/cgroup"
)

// buildRoot gives the calling process (in a mount namespace of its own) the machine's root:
// the host's programs read-only, the machine's own disk, and fresh kernel file systems.
// After it, nothing of the host's mounts is left in the namespace.
func buildRoot(s Spec) error {
	layout, err := cgroup.Detect() // Before the host's mounts are out of sight.
	if err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make the mounts private: %w", err)
	}
	root := filepath.Join(s.Dir, "root")
	if err := mount("tmpfs", root, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	steps := []func(string, Spec) error{bindHost, bindOwn, mountKernel}
	for _, step := range steps {
		if err := step(root, s); err != nil {
			return err
		}
	}
	if err := mountCgroups(root, layout); err != nil {
		return err
	}
	if err := pivot(root); err != nil {
		return err
	}
	if err := maskSysctls(s); err != nil {
		return err
	}
	// As systemd does it: what a privileged pod mounts has to show on the machine.
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// bindHost shows the host's programs and devices.
func bindHost(root string, _ Spec) error {
	for _, name := range []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		host, target := "/"+name, filepath.Join(root, name)
		st, err := os.Lstat(host)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if st.Mode()&fs.ModeSymlink != 0 { // Merged /usr.
			to, err := os.Readlink(host)
			if err == nil {
				err = os.Symlink(to, target)
			}
			if err != nil {
				return err
			}
			continue
		}
		if err := bindReadOnly(host, target); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "dev"), 0o755); err != nil {
		return err
	}
	return mount("/dev", filepath.Join(root, "dev"), "", unix.MS_BIND|unix.MS_REC, "")
}

// bindOwn shows the machine's disk and what the lab gives it.
func bindOwn(root string, s Spec) error {
	for _, name := range diskFolders {
		if err := mount(s.Disk(name), filepath.Join(root, name), "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	for target, host := range map[string]string{BinDir: s.Bin, ConfigDir: s.Config()} {
		if err := bindReadOnly(host, filepath.Join(root, target)); err != nil {
			return err
		}
	}
	for target, host := range map[string]string{LogDir: s.Logs, SharedDir: s.Shared} {
		if err := mount(host, filepath.Join(root, target), "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

func mountKernel(root string, _ Spec) error {
	for _, m := range []struct{ source, target, kind, options string }{
		{"proc", "proc", "proc", ""},
		{"sysfs", "sys", "sysfs", ""},
		{"bpf", "sys/fs/bpf", "bpf", "mode=700"},
		{"tmpfs", "run", "tmpfs", "mode=755"},
		{"tmpfs", "tmp", "tmpfs", "mode=1777"},
	} {
		if err := mount(m.source, filepath.Join(root, m.target), m.kind, 0, m.options); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(root, "run/lock"), 0o755)
}

// mountCgroups mounts the host's hierarchies at the host's places; inside the machine's cgroup
// namespace their root is the machine's own cgroup.
func mountCgroups(root string, layout cgroup.Layout) error {
	const base = "/sys/fs/cgroup"
	if !layout.Unified() {
		if err := mount("tmpfs", root+base, "tmpfs", 0, "mode=755"); err != nil {
			return err
		}
	}
	for _, h := range layout {
		kind := "cgroup"
		if h.V2 {
			kind = "cgroup2"
		}
		target := h.Mount
		if !strings.HasPrefix(target, base) {
			target = filepath.Join(base, filepath.Base(h.Mount))
		}
		if err := mount(kind, root+target, kind, 0, h.Options); err != nil {
			return err
		}
		if controllers := strings.Split(filepath.Base(target), ","); len(controllers) > 1 {
			for _, c := range controllers { // cpu -> cpu,cpuacct
				if err := os.Symlink(filepath.Base(target), root+filepath.Join(base, c)); err != nil && !errors.Is(err, fs.ErrExist) {
					return err
				}
			}
		}
	}
	return nil
}

func pivot(root string) error {
	old := filepath.Join(root, "tmp")
	if err := unix.PivotRoot(root, old); err != nil {
		return fmt.Errorf("cannot change the root to %s: %w", root, err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return unix.Unmount("/tmp", unix.MNT_DETACH)
}

// maskSysctls lays files over sysctls that are the whole host's, so that what a kubelet writes to
// them lands in the machine's own disk.
func maskSysctls(s Spec) error {
	for name, value := range s.Masked {
		file := filepath.Join("/var/lib/lab-sysctl", strings.ReplaceAll(name, "/", "."))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		target := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
			continue // Not known to this kernel, so nobody can change it.
		}
		if err := unix.Mount(file, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot mask the sysctl %s: %w", name, err)
		}
	}
	return nil
}

// passControllers lets kubelet limit what it starts, on hosts with v2 alone.
func passControllers() error {
	layout, err := cgroup.Detect()
	if err != nil || !layout.Unified() {
		return err
	}
	return cgroup.EnableControllers(layout.V2())
}

func bindReadOnly(host, target string) error {
	if err := mount(host, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// mount makes the mount point when it is missing.
func mount(source, target, kind string, flags uintptr, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("cannot mount %s %s on %s: %w", kind, source, target, err)
	}
	return nil
}
