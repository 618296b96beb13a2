// SPDX-License-Identifier: Apache-2.0

// Command configgen writes the generated files of config from the operator's chart,
// so that the two ways to install the operator are one.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/fairlead-io/fairlead/internal/helm"
)

// targets says which template becomes which file below config.
var targets = map[string]string{
	"rbac.yaml":       filepath.Join("rbac", "rbac.yaml"),
	"admission.yaml":  filepath.Join("admission", "clusterstacks.yaml"),
	"deployment.yaml": filepath.Join("manager", "deployment.yaml"),
	"hooks.yaml":      filepath.Join("hooks", "hooks.yaml"),
	"extension.yaml":  filepath.Join("extension", "extensionconfig.yaml"),
}

func main() {
	chart := flag.String("chart", "charts/fairlead-operator", "folder of the operator's chart")
	config := flag.String("config", "config", "folder to write to")
	flag.Parse()
	if err := run(*chart, *config); err != nil {
		fmt.Fprintln(os.Stderr, "configgen:", err)
		os.Exit(1)
	}
}

func run(chart, config string) error {
	c, err := helm.Load(os.DirFS(filepath.Dir(chart)), filepath.Base(chart))
	if err != nil {
		return err
	}
	files, err := c.Render("fairlead-operator", "fairlead-system", map[string]any{"birth": map[string]any{"extensionConfig": "Always"}})
	if err != nil {
		return err
	}
	for template, target := range targets {
		text, ok := files[template]
		if !ok {
			return fmt.Errorf("the chart has no template %s", template)
		}
		text = regexp.MustCompile(`(?m)^\s*helm\.sh/chart: .*\n`).ReplaceAllString(text, "")
		text = strings.ReplaceAll(text, "app.kubernetes.io/managed-by: Helm", "app.kubernetes.io/managed-by: kustomize")
		text = "# Generated from charts/fairlead-operator by `make generate`; change it there.\n" + text
		if err := os.WriteFile(filepath.Join(config, target), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
