// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
)

// file is one of an initramfs.
type file struct {
	name    string // without a leading slash
	content []byte
	mode    uint32 // permissions
}

// writeInitramfs writes an archive that the kernel unpacks as its first file system.
func writeInitramfs(name string, files []file) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	if err := writeCPIO(w, files); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// Bits of a mode that say what a file is.
const (
	regular   = 0o100000
	directory = 0o040000
)

// writeCPIO writes an archive in the format newc, which the kernel's documentation
// (driver-api/early-userspace/buffer-format) describes. Directories are added.
func writeCPIO(w io.Writer, files []file) error {
	number := 0
	entry := func(name string, content []byte, mode uint32) error {
		number++
		fields := []uint32{
			uint32(number), mode, 0, 0, 1, 0, uint32(len(content)), // inode, mode, uid, gid, links, time, size
			0, 0, 0, 0, uint32(len(name) + 1), 0, // devices, length of the name, no checksum
		}
		header := "070701"
		for _, f := range fields {
			header += fmt.Sprintf("%08x", f)
		}
		for _, part := range [][]byte{padded([]byte(header + name + "\x00")), padded(content)} {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
		return nil
	}
	made := map[string]bool{".": true}
	var makeDir func(name string) error
	makeDir = func(name string) error {
		if made[name] {
			return nil
		}
		made[name] = true
		if err := makeDir(path.Dir(name)); err != nil {
			return err
		}
		return entry(name, nil, directory|0o755)
	}
	for _, f := range files {
		if err := makeDir(path.Dir(f.name)); err != nil {
			return err
		}
		if err := entry(f.name, f.content, regular|f.mode); err != nil {
			return err
		}
	}
	return entry("TRAILER!!!", nil, 0)
}

// padded returns b with zeros up to a multiple of four bytes.
func padded(b []byte) []byte {
	return append(b[:len(b):len(b)], make([]byte, -len(b)&3)...)
}
