// SPDX-License-Identifier: Apache-2.0

// Package atomicfile writes files that are either complete or not there, whenever the writer is killed.
package atomicfile

import (
	"bytes"
	"os"
	"path/filepath"
)

// Write makes the file, and its folder, and replaces what was there in one step.
func Write(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // After a success there is nothing of that name.
	if _, err := f.Write(content); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(mode); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Update is Write, but leaves a file that already has the content as it is: programs watch their files.
func Update(path string, content []byte, mode os.FileMode) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	return Write(path, content, mode)
}
