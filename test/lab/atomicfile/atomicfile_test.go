// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWriteReplacesAndLeavesNothingElse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made/by/write")
	path := filepath.Join(dir, "f")
	for _, content := range []string{"long content", "short"} {
		if err := Write(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("the file holds %q, %v; want %q", got, err, content)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files are in the folder, %v", len(entries), err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", st.Mode(), err)
	}
}

func TestUpdateLeavesAnEqualFileAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	inode := func(content string) os.FileInfo {
		if err := Update(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	first := inode("a")
	if !os.SameFile(first, inode("a")) {
		t.Error("an equal file was replaced")
	}
	if os.SameFile(first, inode("b")) {
		t.Error("a different file was not replaced")
	}
}
