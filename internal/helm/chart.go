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
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// Chart is a chart that was loaded once and is read-only from then on.
type Chart struct {
	files         []*loader.BufferedFile
	crds          []*unstructured.Unstructured
	name, version string
	digest        string
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
	var crds []*unstructured.Unstructured
	sum := sha256.New()
	err := fs.WalkDir(fsys, root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(p, root+"/")
		fmt.Fprintf(sum, "%s\x00%d\x00", name, len(b))
		sum.Write(b)
		if strings.HasPrefix(name, "crds/") {
			// CRDs stay out of the chart that Helm stores with every revision.
			objs, err := decode(b)
			if err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
			crds = append(crds, objs...)
			return nil
		}
		files = append(files, &loader.BufferedFile{Name: name, Data: b})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading chart %s: %w", root, err)
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("loading chart %s: %w", root, err)
	}
	return &Chart{
		files: files, crds: crds,
		name: c.Metadata.Name, version: c.Metadata.Version,
		digest: hex.EncodeToString(sum.Sum(nil)[:16]),
	}, nil
}

// fresh returns the chart for one action: Helm writes to the charts that it renders.
func (c *Chart) fresh() (*chart.Chart, error) { return loader.LoadFiles(c.files) }

// Name and Version are those of Chart.yaml.
func (c *Chart) Name() string { return c.name }

// Version is the version in Chart.yaml.
func (c *Chart) Version() string { return c.version }

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
	all, err := chartutil.CoalesceValues(ch, values)
	if err == nil {
		err = chartutil.ValidateAgainstSchema(ch, all)
	}
	if err != nil {
		return &RefusedError{Chart: c.Name(), Err: errors.New(strings.TrimSpace(err.Error()))}
	}
	return nil
}

// decode reads the YAML documents of b.
func decode(b []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	dec := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(b), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := dec.Decode(o)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			out = append(out, o)
		}
	}
}
