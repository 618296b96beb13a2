// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestTheSupportTableIsTheCharts(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "charts", "cni", "Chart.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var chart struct {
		AppVersion  string            `json:"appVersion"`
		KubeVersion string            `json:"kubeVersion"`
		Annotations map[string]string `json:"annotations"`
	}
	if err := yaml.Unmarshal(raw, &chart); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join("..", "..", "docs", "support.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := fmt.Sprintf("| %s | %s | %s |", chart.AppVersion, chart.KubeVersion, chart.Annotations["fairlead.io/kernel"])
	if !strings.Contains(string(table), row) {
		t.Errorf("docs/support.md has no row %q: add it", row)
	}
}
