// SPDX-License-Identifier: Apache-2.0

package node

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// diskFolders are the folders at the machine's root that outlive its restart.
var diskFolders = []string{"etc", "var", "opt", "root"}

// fromHost is what a machine takes from the host's /etc; the rest of it is its own.
var fromHost = []string{
	"alternatives", "ca-certificates", "ethertypes", "group", "iproute2", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
	"localtime", "nsswitch.conf", "os-release", "passwd", "protocols", "services", "ssl",
}

// prepareDisk makes the machine's disk where it does not exist yet.
func prepareDisk(s Spec) error {
	for _, dir := range []string{
		"etc/cni/net.d", "opt/cni/bin", "root",
		"var/lib/cni", "var/log/pods", "var/log/containers", "var/tmp",
	} {
		if err := os.MkdirAll(s.Disk(dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("/run", s.Disk("var/run")); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, name := range fromHost {
		if err := copyTree(filepath.Join("/etc", name), s.Disk("etc/"+name)); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{
		"hostname":    s.Name + "\n",
		"hosts":       "127.0.0.1 localhost\n::1 localhost ip6-localhost\n",
		"machine-id":  machineID(s.Name) + "\n",
		"resolv.conf": "# The lab has no way out, and no names but those of its clusters.\n",
	} {
		if err := os.WriteFile(s.Disk("etc/"+name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// machineID has 32 digits, whatever the length of the name.
func machineID(name string) string {
	if len(name) <= 16 {
		return fmt.Sprintf("%032x", name)
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

// copyTree copies files, folders and symbolic links; what does not exist is left out.
func copyTree(from, to string) error {
	st, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case st.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		_ = os.Remove(to)
		return os.Symlink(target, to)
	case st.IsDir():
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		entries, err := os.ReadDir(from)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := copyTree(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
				return err
			}
		}
		return nil
	case st.Mode().IsRegular():
		raw, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, raw, st.Mode().Perm())
	}
	return nil
}
