// SPDX-License-Identifier: Apache-2.0

package faulty

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/fairlead-io/fairlead/charts"
)

var (
	versionOfRelease = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9a-z.]+)?$`)
	versionLine      = regexp.MustCompile(`(?m)^version: .*$`)
	kubeVersionLine  = regexp.MustCompile(`(?m)^kubeVersion: .*$`)
	appVersionLine   = regexp.MustCompile(`(?m)^appVersion: .*$`)
)

// Pack writes the cni chart of a version (v0.1.1, for example) into a folder, as Helm packs
// charts, and returns the file. The same input gives the same bytes.
func Pack(folder, version string) (string, error) { return PackFor(folder, version, "") }

// PackFor is Pack for a chart that supports these versions of Kubernetes only; "" leaves them as
// they are.
func PackFor(folder, version, kubernetes string) (string, error) {
	if !versionOfRelease.MatchString(version) {
		return "", fmt.Errorf("chart of version %q: give a version such as v0.1.1", version)
	}
	var out bytes.Buffer
	if err := writeChart(&out, version, kubernetes); err != nil {
		return "", fmt.Errorf("chart of version %s: %w", version, err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(folder, charts.CNIRoot+"-"+strings.TrimPrefix(version, "v")+".tgz")
	return file, os.WriteFile(file, out.Bytes(), 0o644)
}

func writeChart(w io.Writer, version, kubernetes string) error {
	packed := gzip.NewWriter(w)
	t := tar.NewWriter(packed)
	err := fs.WalkDir(charts.CNI, charts.CNIRoot, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(charts.CNI, name)
		if err != nil {
			return err
		}
		if name == path.Join(charts.CNIRoot, "Chart.yaml") {
			if text, err = withVersion(text, version); err != nil {
				return err
			}
			if kubernetes != "" {
				text = kubeVersionLine.ReplaceAll(text, fmt.Appendf(nil, "kubeVersion: %q", kubernetes))
			}
		}
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			return err
		}
		_, err = t.Write(text)
		return err
	})
	return errors.Join(err, t.Close(), packed.Close())
}

// withVersion replaces the versions of Chart.yaml.
func withVersion(text []byte, version string) ([]byte, error) {
	if len(versionLine.FindAll(text, -1)) != 1 || len(appVersionLine.FindAll(text, -1)) != 1 {
		return nil, errors.New("there must be one version and one appVersion in Chart.yaml")
	}
	text = versionLine.ReplaceAll(text, []byte("version: "+strings.TrimPrefix(version, "v")))
	return appVersionLine.ReplaceAll(text, []byte("appVersion: "+version)), nil
}
