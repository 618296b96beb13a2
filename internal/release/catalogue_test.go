// SPDX-License-Identifier: Apache-2.0

package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/charts"
)

// packed is the cni chart of another version, as `helm package` would write it.
func packed(t *testing.T, name, version string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	err := fs.WalkDir(charts.CNI, charts.CNIRoot, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := charts.CNI.ReadFile(p)
		if err != nil {
			return err
		}
		if filepath.Base(p) == "Chart.yaml" {
			raw = bytes.Replace(raw, []byte("version: 0.1.0"), []byte("version: "+version), 1)
			raw = bytes.Replace(raw, []byte("name: cni"), []byte("name: "+name), 1)
		}
		if err := w.WriteHeader(&tar.Header{Name: p, Mode: 0o644, Size: int64(len(raw)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err = w.Write(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestTheCatalogueFollowsItsFolder(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	own := cniChart(t)
	c := NewCatalogue("v0.3.0-dev", own, dir, slog.New(slog.NewTextHandler(&log, nil)))
	expect := func(versions ...string) {
		t.Helper()
		// As if the time between two looks were over.
		c.looked = time.Time{}
		if got := c.Versions(); !slices.Equal(got, versions) {
			t.Errorf("there are charts of %v, want %v\n%s", got, versions, log.String())
		}
	}
	write := func(name string, raw []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect("v0.3.0-dev")
	write("a.tgz", packed(t, "cni", "0.2.0"))
	write("z.tgz", packed(t, "cni", "0.10.0"))
	write("README.md", []byte("no chart"))
	expect("v0.10.0", "v0.3.0-dev", "v0.2.0")
	if got, ok := c.Chart("v0.2.0"); !ok || got.Version() != "0.2.0" || len(got.CRDs()) != len(own.CRDs()) {
		t.Errorf("got %v, %t", got, ok)
	}
	if got, ok := c.Chart("v0.3.0-dev"); !ok || got != own {
		t.Errorf("got %v, %t for the operator's own version", got, ok)
	}
	if _, ok := c.Chart("v0.1.0"); ok {
		t.Error("the operator's own chart is there under the version of its Chart.yaml, too")
	}

	write("broken.tgz", []byte("no archive"))
	write("other.tgz", packed(t, "other", "0.4.0"))
	expect("v0.10.0", "v0.3.0-dev", "v0.2.0")
	for _, want := range []string{"broken.tgz", "it is chart other, and only charts named cni are installed"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "folder"), os.DirFS(filepath.Join("..", "..", "charts", "cni"))); err != nil {
		t.Fatal(err)
	}
	expect("v0.10.0", "v0.3.0-dev", "v0.2.0", "v0.1.0")
	if got, _ := c.Chart("v0.1.0"); got == nil || got.Digest() != own.Digest() {
		t.Error("the same files in a folder have another digest")
	}
	if err := os.Remove(filepath.Join(dir, "z.tgz")); err != nil {
		t.Fatal(err)
	}
	expect("v0.3.0-dev", "v0.2.0", "v0.1.0")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	expect("v0.3.0-dev")
}
