// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type entry struct {
	Mode    int64
	Content string
	Link    string
}

func untar(t *testing.T, r io.Reader) (map[string]entry, []string) {
	t.Helper()
	entries, order := map[string]entry{}, []string{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return entries, order
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		entries[h.Name] = entry{Mode: h.Mode, Content: string(content), Link: h.Linkname}
		order = append(order, h.Name)
	}
}

type descriptor struct {
	Digest      string
	Size        int
	Annotations map[string]string
}

// open follows the archive the way a runtime does: index, manifest, config, layers; and checks every digest.
func open(t *testing.T, archive []byte) (names []string, config map[string]any, layers [][]byte) {
	t.Helper()
	files, _ := untar(t, bytes.NewReader(archive))
	blob := func(d descriptor) []byte {
		content := files["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")].Content
		if len(content) != d.Size || "sha256:"+hexDigest([]byte(content)) != d.Digest {
			t.Fatalf("blob %s does not match its descriptor", d.Digest)
		}
		return []byte(content)
	}
	var index struct{ Manifests []descriptor }
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	decode(t, []byte(files["index.json"].Content), &index)
	for _, m := range index.Manifests {
		names = append(names, m.Annotations["io.containerd.image.name"])
	}
	decode(t, blob(index.Manifests[0]), &manifest)
	var full struct {
		Config map[string]any
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	decode(t, blob(manifest.Config), &full)
	for i, l := range manifest.Layers {
		gz, err := gzip.NewReader(bytes.NewReader(blob(l)))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(gz)
		if err != nil {
			t.Fatal(err)
		}
		if full.RootFS.DiffIDs[i] != "sha256:"+hexDigest(raw) {
			t.Errorf("layer %d has another diff id", i)
		}
		layers = append(layers, raw)
	}
	return names, full.Config, layers
}

func decode(t *testing.T, raw []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatal(err)
	}
}

func files(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, c := range content {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(c), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestArchiveHoldsWhatWasAsked(t *testing.T) {
	dir := files(t, map[string]string{"prog": "ELF", "conf/a": "A", "conf/sub/b": "B"})
	var out bytes.Buffer
	err := Write(&out, Spec{
		References: []string{"fairlead.io/x:v1", "fairlead.io/x:latest"}, Entrypoint: []string{"/prog"}, Cmd: []string{"serve"}, User: "65534",
		Files: map[string]string{"/prog": filepath.Join(dir, "prog"), "/etc/conf": filepath.Join(dir, "conf")},
		Links: map[string]string{"/bin/p": "/prog"},
	})
	if err != nil {
		t.Fatal(err)
	}
	names, config, layers := open(t, out.Bytes())
	if d := cmp.Diff([]string{"fairlead.io/x:v1", "fairlead.io/x:latest"}, names); d != "" {
		t.Error(d)
	}
	want := map[string]any{"Env": []any{defaultPath}, "Entrypoint": []any{"/prog"}, "Cmd": []any{"serve"}, "User": "65534"}
	if d := cmp.Diff(want, config); d != "" {
		t.Error(d)
	}
	got, order := untar(t, bytes.NewReader(layers[0]))
	for name, e := range map[string]entry{
		"prog": {Mode: 0o755, Content: "ELF"}, "etc/conf/a": {Mode: 0o755, Content: "A"}, "etc/conf/sub/b": {Mode: 0o755, Content: "B"},
		"bin/p": {Mode: 0o777, Link: "/prog"}, "tmp/": {Mode: 0o1777},
	} {
		if d := cmp.Diff(e, got[name]); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if len(order) != len(got) {
		t.Errorf("an entry is there twice: %v", order)
	}
}

func TestBaseComesFirstAndKeepsItsUsers(t *testing.T) {
	dir := files(t, map[string]string{"base.tar": "any bytes", "prog": "ELF"})
	var out bytes.Buffer
	spec := Spec{References: []string{"a:1"}, Base: filepath.Join(dir, "base.tar"), Files: map[string]string{"/prog": filepath.Join(dir, "prog")}}
	if err := Write(&out, spec); err != nil {
		t.Fatal(err)
	}
	_, _, layers := open(t, out.Bytes())
	if len(layers) != 2 || string(layers[0]) != "any bytes" {
		t.Fatalf("the base is not the first of two layers: %d", len(layers))
	}
	if got, _ := untar(t, bytes.NewReader(layers[1])); got["etc/passwd"].Content != "" {
		t.Error("the base's /etc/passwd is overwritten")
	}
}

func TestSameInputSameBytes(t *testing.T) {
	dir := files(t, map[string]string{"a": "1", "b": "2", "c": "3"})
	spec := Spec{References: []string{"a:1"}, Files: map[string]string{
		"/a": filepath.Join(dir, "a"), "/b": filepath.Join(dir, "b"), "/c": filepath.Join(dir, "c"),
	}}
	var first, second bytes.Buffer
	if err := errors.Join(Write(&first, spec), Write(&second, spec)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two runs differ")
	}
}

func TestBadSpecs(t *testing.T) {
	for _, tc := range []struct {
		name, wantErr string
		spec          Spec
	}{
		{"no name", "name with a tag", Spec{}},
		{"no tag", "name with a tag", Spec{References: []string{"fairlead"}}},
		{"missing file", "no such file", Spec{References: []string{"a:1"}, Files: map[string]string{"/x": "/does/not/exist"}}},
		{"missing base", "no such file", Spec{References: []string{"a:1"}, Base: "/does/not/exist"}},
		{"device", "neither a file nor a folder", Spec{References: []string{"a:1"}, Files: map[string]string{"/x": "/dev/null"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := Write(io.Discard, tc.spec); err == nil || !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("error %v does not say %q", err, tc.wantErr)
			}
		})
	}
}
