// SPDX-License-Identifier: Apache-2.0

// Package sysctl reads and writes kernel settings of the calling thread's network
// namespace, and remembers what host-wide settings were before Fairlead changed them.
//
// The memory is a pinned BPF map: it outlives the agent and is gone after a reboot,
// exactly as the settings themselves. Settings of Fairlead's own devices need no memory,
// they go with the device.
package sysctl

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const root = "/proc/sys/"

// Read returns the value of a setting, named by its path below /proc/sys (with slashes,
// since names of devices may have dots).
func Read(name string) (string, error) {
	b, err := os.ReadFile(root + name)
	if err != nil {
		return "", fmt.Errorf("sysctl %s: %w", name, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Write sets a setting unless it has the value already, so that a read-only /proc/sys
// does no harm where nothing is to change.
func Write(name, value string) error {
	if have, err := Read(name); err == nil && have == value {
		return nil
	}
	err := os.WriteFile(root+name, []byte(value), 0o644)
	if errors.Is(err, unix.EROFS) {
		err = errors.Join(makeWritable(), os.WriteFile(root+name, []byte(value), 0o644))
	}
	if err != nil {
		return fmt.Errorf("sysctl %s: cannot set it to %s: %w", name, value, err)
	}
	return nil
}

// makeWritable takes the write protection from /proc/sys that container runtimes lay
// over it, in the calling process's mount namespace only. It needs CAP_SYS_ADMIN, which
// an agent has for entering namespaces, and spares it a privileged container.
func makeWritable() error {
	if err := unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("%s is read-only and cannot be made writable: %w", root, err)
	}
	return nil
}

// Exists says whether the kernel has a setting.
func Exists(name string) bool {
	_, err := os.Stat(root + name)
	return err == nil
}

const (
	nameSize  = 96
	valueSize = 32
)

// Memory holds the former and the new value of each setting that was changed.
type Memory struct{ settings *ebpf.Map }

type change struct{ Before, After [valueSize]byte }

// OpenMemory opens the memory that is pinned in dir, or makes it.
func OpenMemory(dir string) (*Memory, error) {
	m, err := ebpf.NewMapWithOptions(&ebpf.MapSpec{
		Name:       "fl_sysctls",
		Type:       ebpf.Hash,
		KeySize:    nameSize,
		ValueSize:  2 * valueSize,
		MaxEntries: 64,
		Pinning:    ebpf.PinByName,
	}, ebpf.MapOptions{PinPath: dir})
	if err != nil {
		return nil, fmt.Errorf("sysctl memory in %s: %w", dir, err)
	}
	return &Memory{settings: m}, nil
}

// Close lets go of the memory; it stays pinned.
func (m *Memory) Close() error { return m.settings.Close() }

// Set writes a setting and remembers what it was, unless that is remembered already.
func (m *Memory) Set(name, value string) error {
	if len(name) >= nameSize || len(value) >= valueSize {
		return fmt.Errorf("sysctl %s: name or value is too long", name)
	}
	before, err := Read(name)
	if err != nil || before == value {
		return err
	}
	var key [nameSize]byte
	var c change
	copy(key[:], name)
	copy(c.Before[:], before)
	copy(c.After[:], value)
	if err := m.settings.Update(key, c, ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("sysctl %s: remember: %w", name, err)
	}
	return Write(name, value)
}

// Restore gives every remembered setting its former value, unless somebody else has
// changed it since or its device is gone, and forgets it.
func (m *Memory) Restore() error {
	changes := map[string]change{}
	var key [nameSize]byte
	var c change
	rows := m.settings.Iterate()
	for rows.Next(&key, &c) {
		changes[text(key[:])] = c
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("sysctl memory: %w", err)
	}
	var errs []error
	for _, name := range restoreOrder(changes) {
		if err := restore(name, changes[name]); err != nil {
			errs = append(errs, err)
			continue
		}
		var key [nameSize]byte
		copy(key[:], name)
		if err := m.settings.Delete(key); err != nil {
			errs = append(errs, fmt.Errorf("sysctl memory: forget %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// restoreOrder puts settings for all devices before those of one device, which the
// former overwrite.
func restoreOrder(changes map[string]change) []string {
	names := make([]string, 0, len(changes))
	for name := range changes {
		names = append(names, name)
	}
	general := func(name string) bool {
		return filepath.Base(filepath.Dir(name)) == "all" || strings.Count(name, "/") < 3
	}
	sort.Slice(names, func(i, j int) bool {
		if a, b := general(names[i]), general(names[j]); a != b {
			return a
		}
		return names[i] < names[j]
	})
	return names
}

func restore(name string, c change) error {
	have, err := Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || have != text(c.After[:]) {
		return err
	}
	return Write(name, text(c.Before[:]))
}

func text(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
