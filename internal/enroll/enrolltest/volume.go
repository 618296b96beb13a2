// SPDX-License-Identifier: Apache-2.0

package enrolltest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Volume is a folder that is filled as a kubelet fills the volume of a Secret or a
// ConfigMap: each content in a folder of its own, to which one symbolic link points, and
// one such link for each file.
type Volume struct {
	Dir string
	n   int
}

// NewVolume makes an empty one.
func NewVolume(t testing.TB) *Volume {
	t.Helper()
	return &Volume{Dir: t.TempDir()}
}

// Project replaces the content; files that are empty are not there.
func (v *Volume) Project(t testing.TB, files map[string][]byte) {
	t.Helper()
	data := filepath.Join(v.Dir, "..data")
	former, _ := os.Readlink(data) // there is none at first
	v.n++
	fresh := fmt.Sprintf("..content-%d", v.n)
	steps := []error{os.Mkdir(filepath.Join(v.Dir, fresh), 0o700)}
	for name, content := range files {
		if len(content) > 0 {
			steps = append(steps, os.WriteFile(filepath.Join(v.Dir, fresh, name), content, 0o600))
		}
	}
	steps = append(steps, os.Symlink(fresh, data+"_tmp"), os.Rename(data+"_tmp", data))
	for name, content := range files {
		link := filepath.Join(v.Dir, name)
		_, err := os.Lstat(link)
		switch {
		case len(content) > 0 && os.IsNotExist(err):
			steps = append(steps, os.Symlink(filepath.Join("..data", name), link))
		case len(content) == 0 && err == nil:
			steps = append(steps, os.Remove(link))
		}
	}
	if former != "" {
		steps = append(steps, os.RemoveAll(filepath.Join(v.Dir, former)))
	}
	for _, err := range steps {
		if err != nil {
			t.Fatal(err)
		}
	}
}
