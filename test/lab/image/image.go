// SPDX-License-Identifier: Apache-2.0

// Package image packs files into OCI image archives, without a registry, a daemon or a container.
//
// The same input gives the same bytes: no time stamps, sorted names.
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Spec says what an image holds and how it starts.
type Spec struct {
	References []string          // Names with tags, for example fairlead.io/lab/pause:1. One at least.
	Entrypoint []string          // Program and arguments.
	Cmd        []string          // Default further arguments.
	Env        []string          // KEY=value; a PATH is set when none is given.
	User       string            // Empty for root.
	Base       string            // Path of an uncompressed root file system (tar) below the files, or empty.
	Files      map[string]string // Path in the image -> file or folder on the host.
	Links      map[string]string // Symbolic links: path in the image -> target.
}

// defaultPath is searched for programs by the container runtime.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

type layer struct{ raw, packed []byte }

// Write writes the image as an OCI archive.
func Write(w io.Writer, s Spec) error {
	if len(s.References) == 0 || !strings.Contains(s.References[0], ":") {
		return fmt.Errorf("image reference %q: give a name with a tag, for example fairlead.io/fairlead:v0.1.0", s.References)
	}
	var layers []layer
	if s.Base != "" {
		raw, err := os.ReadFile(s.Base)
		if err != nil {
			return fmt.Errorf("cannot read the base of %s: %w", s.References[0], err)
		}
		layers = append(layers, compress(raw))
	}
	raw, err := fileLayer(s)
	if err != nil {
		return fmt.Errorf("cannot pack %s: %w", s.References[0], err)
	}
	return writeArchive(w, archiveFiles(s, append(layers, compress(raw))))
}

// archiveFiles returns the archive's content by path.
func archiveFiles(s Spec, layers []layer) map[string][]byte {
	files := map[string][]byte{"oci-layout": encode(map[string]string{"imageLayoutVersion": "1.0.0"})}
	blob := func(mediaType string, content []byte) map[string]any {
		files["blobs/sha256/"+hexDigest(content)] = content
		return map[string]any{"mediaType": mediaType, "digest": "sha256:" + hexDigest(content), "size": len(content)}
	}
	var ids []string
	var descriptors []any
	for _, l := range layers {
		ids = append(ids, "sha256:"+hexDigest(l.raw))
		descriptors = append(descriptors, blob("application/vnd.oci.image.layer.v1.tar+gzip", l.packed))
	}
	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	platform := map[string]any{"architecture": runtime.GOARCH, "os": "linux"}
	config := blob("application/vnd.oci.image.config.v1+json", encode(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": runConfig(s),
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	}))
	manifest := blob(manifestType, encode(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": descriptors,
	}))
	var manifests []any
	for _, ref := range s.References {
		m := maps.Clone(manifest)
		m["platform"] = platform
		m["annotations"] = map[string]string{
			"io.containerd.image.name":          ref,
			"org.opencontainers.image.ref.name": ref[strings.LastIndex(ref, ":")+1:],
		}
		manifests = append(manifests, m)
	}
	files["index.json"] = encode(map[string]any{"schemaVersion": 2, "manifests": manifests})
	return files
}

func runConfig(s Spec) map[string]any {
	env := s.Env
	if !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		env = append([]string{defaultPath}, env...)
	}
	config := map[string]any{"Env": env}
	if len(s.Entrypoint) > 0 {
		config["Entrypoint"] = s.Entrypoint
	}
	if len(s.Cmd) > 0 {
		config["Cmd"] = s.Cmd
	}
	if s.User != "" {
		config["User"] = s.User
	}
	return config
}

func writeArchive(w io.Writer, files map[string][]byte) error {
	t := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			return err
		}
		if _, err := t.Write(files[name]); err != nil {
			return err
		}
	}
	return t.Close()
}

// tree writes a layer; folders are written before what is in them, each once.
type tree struct {
	*tar.Writer
	made map[string]bool
}

func fileLayer(s Spec) ([]byte, error) {
	var out bytes.Buffer
	t := tree{tar.NewWriter(&out), map[string]bool{".": true}}
	if s.Base == "" {
		if err := t.skeleton(); err != nil {
			return nil, err
		}
	}
	for _, dst := range slices.Sorted(maps.Keys(s.Files)) {
		if err := t.add(s.Files[dst], strings.Trim(dst, "/")); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Links)) {
		if err := t.parents(strings.Trim(name, "/")); err != nil {
			return nil, err
		}
		header := &tar.Header{Name: strings.Trim(name, "/"), Typeflag: tar.TypeSymlink, Linkname: s.Links[name], Mode: 0o777}
		if err := t.WriteHeader(header); err != nil {
			return nil, err
		}
	}
	err := t.Close()
	return out.Bytes(), err
}

// skeleton is what programs expect of any root file system.
func (t tree) skeleton() error {
	if err := t.folder("tmp", 0o1777); err != nil {
		return err
	}
	for _, f := range []struct{ name, content string }{
		{"etc/group", "root:x:0:\nnogroup:x:65534:\n"},
		{"etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"},
	} {
		if err := t.file(f.name, []byte(f.content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (t tree) add(src, dst string) error {
	return filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		info, err := os.Stat(p) // Follows links: a binary may be one.
		if err != nil {
			return err
		}
		name := path.Join(dst, filepath.ToSlash(rel))
		if info.IsDir() {
			return t.folder(name, 0o755)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a folder", p)
		}
		content, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return t.file(name, content, int64(info.Mode().Perm()))
	})
}

func (t tree) file(name string, content []byte, mode int64) error {
	if err := t.parents(name); err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := t.Write(content)
	return err
}

func (t tree) folder(name string, mode int64) error {
	if t.made[name] {
		return nil
	}
	if err := t.parents(name); err != nil {
		return err
	}
	t.made[name] = true
	return t.WriteHeader(&tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: mode})
}

func (t tree) parents(name string) error {
	if dir := path.Dir(name); dir != "." {
		return t.folder(dir, 0o755)
	}
	return nil
}

func compress(raw []byte) layer {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err == nil {
		_, err = w.Write(raw)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // Memory takes every byte and the level is valid.
	}
	return layer{raw: raw, packed: out.Bytes()}
}

func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // Maps of strings and numbers always encode.
	}
	return raw
}

func hexDigest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
