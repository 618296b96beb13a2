// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// maxArchive bounds a packaged chart, in bytes.
const maxArchive = 16 << 20

// Chart is a chart that was loaded once and is read-only from then on.
type Chart struct {
	files         []*loader.BufferedFile
	crds          []*unstructured.Unstructured
	name, version string
	digest        string
	kubeVersion   string
	annotations   map[string]string
}

// RefusedError says that a chart's schema refuses the values. Trying again with the
// same values cannot help.
type RefusedError struct {
	Chart string
	Err   error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("chart %s refuses its values: %v", e.Chart, e.Err)
}

func (e *RefusedError) Unwrap() error { return e.Err }

// Load reads the chart in folder root of fsys.
func Load(fsys fs.FS, root string) (*Chart, error) {
	var files []*loader.BufferedFile
	err := fs.WalkDir(fsys, root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		files = append(files, &loader.BufferedFile{Name: strings.TrimPrefix(p, root+"/"), Data: b})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading chart %s: %w", root, err)
	}
	return newChart(root, files)
}

// LoadArchive reads a chart that was packaged (`helm package`); name is for errors.
func LoadArchive(name string, in io.Reader) (*Chart, error) {
	files, err := loader.LoadArchiveFiles(io.LimitReader(in, maxArchive))
	if err != nil {
		return nil, fmt.Errorf("reading chart %s: %w", name, err)
	}
	// Folder and archive of a chart list their files in different orders.
	slices.SortFunc(files, func(a, b *loader.BufferedFile) int { return strings.Compare(a.Name, b.Name) })
	return newChart(name, files)
}

func newChart(from string, files []*loader.BufferedFile) (*Chart, error) {
	out := &Chart{}
	sum := sha256.New()
	for _, f := range files {
		fmt.Fprintf(sum, "%s\x00%d\x00", f.Name, len(f.Data))
		sum.Write(f.Data)
		if !strings.HasPrefix(f.Name, "crds/") {
			out.files = append(out.files, f)
			continue
		}
		// CRDs stay out of the chart that Helm stores with every revision.
		objs, err := Objects(f.Data)
		if err != nil {
			return nil, fmt.Errorf("loading chart %s: %s: %w", from, f.Name, err)
		}
		out.crds = append(out.crds, objs...)
	}
	c, err := out.fresh()
	if err != nil {
		return nil, fmt.Errorf("loading chart %s: %w", from, err)
	}
	if c.Metadata == nil {
		return nil, fmt.Errorf("loading chart %s: it has no Chart.yaml", from)
	}
	out.name, out.version = c.Metadata.Name, c.Metadata.Version
	out.kubeVersion, out.annotations = c.Metadata.KubeVersion, c.Metadata.Annotations
	out.digest = hex.EncodeToString(sum.Sum(nil)[:16])
	return out, nil
}

// stored makes a chart of one that a record holds.
func stored(c *chart.Chart) (*Chart, error) {
	meta, err := yaml.Marshal(c.Metadata)
	if err != nil {
		return nil, err
	}
	values, err := yaml.Marshal(c.Values)
	if err != nil {
		return nil, err
	}
	files := []*loader.BufferedFile{{Name: chartutil.ChartfileName, Data: meta}, {Name: chartutil.ValuesfileName, Data: values}}
	if len(c.Schema) > 0 {
		files = append(files, &loader.BufferedFile{Name: chartutil.SchemafileName, Data: c.Schema})
	}
	for _, f := range slices.Concat(c.Templates, c.Files) {
		files = append(files, &loader.BufferedFile{Name: f.Name, Data: f.Data})
	}
	return newChart("of the release", files)
}

// fresh returns the chart for one action: Helm writes to the charts that it renders.
func (c *Chart) fresh() (*chart.Chart, error) { return loader.LoadFiles(c.files) }

// Name is that in Chart.yaml.
func (c *Chart) Name() string { return c.name }

// Version is the version in Chart.yaml.
func (c *Chart) Version() string { return c.version }

// KubeVersion is the range of Kubernetes in Chart.yaml, and Annotation one of its annotations.
func (c *Chart) KubeVersion() string { return c.kubeVersion }

// Annotation is the value of an annotation in Chart.yaml, "" for none.
func (c *Chart) Annotation(name string) string { return c.annotations[name] }

// Digest identifies the content of every file of the chart.
func (c *Chart) Digest() string { return c.digest }

// CRDs returns copies of the objects in the chart's crds folder.
func (c *Chart) CRDs() []*unstructured.Unstructured {
	out := make([]*unstructured.Unstructured, len(c.crds))
	for i, o := range c.crds {
		out[i] = o.DeepCopy()
	}
	return out
}

// Validate checks values against the chart's schema. The error is a *RefusedError.
func (c *Chart) Validate(values map[string]any) error {
	ch, err := c.fresh()
	if err != nil {
		return err
	}
	return c.validate(ch, values)
}

func (c *Chart) validate(ch *chart.Chart, values map[string]any) error {
	all, err := chartutil.CoalesceValues(ch, values)
	if err == nil {
		err = chartutil.ValidateAgainstSchema(ch, all)
	}
	if err != nil {
		return &RefusedError{Chart: c.Name(), Err: errors.New(strings.TrimSpace(err.Error()))}
	}
	return nil
}

// Objects reads the YAML documents of b; empty ones are left out.
func Objects(b []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	dec := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(b), 4096)
	for {
		// By way of the bytes, so that numbers are of the types that API servers' answers
		// are read to.
		var raw runtime.RawExtension
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if raw.Raw = bytes.TrimSpace(raw.Raw); len(raw.Raw) == 0 || string(raw.Raw) == "null" || string(raw.Raw) == "{}" {
			continue
		}
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON(raw.Raw); err != nil {
			return nil, errors.New("a document is no object")
		}
		if o.GetKind() == "" || o.GetAPIVersion() == "" || o.GetName() == "" {
			return nil, errors.New("an object lacks apiVersion, kind or metadata.name")
		}
		out = append(out, o)
	}
}
