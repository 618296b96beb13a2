// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
)

// Render renders the chart's templates without a cluster, each under its file name
// (without the folder). The chart's schema is enforced.
func (c *Chart) Render(release, namespace string, values map[string]any) (map[string]string, error) {
	_, files, err := c.render(release, namespace, values, nil)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name, text := range files {
		base := path.Base(name)
		if slices.Contains([]string{".yaml", ".yml"}, path.Ext(base)) && strings.TrimSpace(text) != "" {
			out[base] = text
		}
	}
	return out, nil
}

// render returns every rendered file, and the chart that they were rendered from.
func (c *Chart) render(release, namespace string, values map[string]any, served *chartutil.Capabilities) (*chart.Chart, map[string]string, error) {
	ch, err := c.fresh()
	if err != nil {
		return nil, nil, err
	}
	if err := c.validate(ch, values); err != nil {
		return nil, nil, err
	}
	if v := ch.Metadata.KubeVersion; v != "" && served != nil && !chartutil.IsCompatibleRange(v, served.KubeVersion.String()) {
		return nil, nil, &RefusedError{Chart: c.Name(), Err: fmt.Errorf("it needs Kubernetes %s, and the cluster has %s", v, served.KubeVersion.String())}
	}
	options := chartutil.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValuesWithSchemaValidation(ch, values, options, served, true)
	if err != nil {
		return nil, nil, fmt.Errorf("chart %s: %w", c.Name(), err)
	}
	files, err := engine.Render(ch, all)
	if err != nil {
		return nil, nil, fmt.Errorf("chart %s: %w", c.Name(), err)
	}
	return ch, files, nil
}

// manifest writes rendered files as one stream of documents, in the order in which Helm
// installs kinds and as Helm writes it, so that the two can be compared.
func manifest(files map[string]string) (string, error) {
	for name := range files {
		if path.Base(name) == "NOTES.txt" {
			delete(files, name)
		}
	}
	hooks, sorted, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		return "", err
	}
	if len(hooks) > 0 {
		return "", errors.New("the chart has hooks (annotation helm.sh/hook), which are not run: make them ordinary objects")
	}
	var out strings.Builder
	for _, m := range sorted {
		fmt.Fprintf(&out, "---\n# Source: %s\n%s\n", m.Name, m.Content)
	}
	return out.String(), nil
}

//go:generate go run ./configgen -chart ../../charts/fairlead-operator -config ../../config
