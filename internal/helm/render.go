// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

// Render renders the chart's templates without a cluster, each under its file name
// (without the folder). The chart's schema is enforced.
func (c *Chart) Render(release, namespace string, values map[string]any) (map[string]string, error) {
	if err := c.Validate(values); err != nil {
		return nil, err
	}
	ch, err := c.fresh()
	if err != nil {
		return nil, err
	}
	all, err := chartutil.ToRenderValues(ch, values, chartutil.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", c.Name(), err)
	}
	files, err := engine.Render(ch, all)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", c.Name(), err)
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

//go:generate go run ./configgen -chart ../../charts/fairlead-operator -config ../../config
