// SPDX-License-Identifier: Apache-2.0

package release

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/fairlead-io/fairlead/internal/helm"
)

const (
	// lookEvery bounds how often the folder is looked at; every reconcile asks.
	lookEvery = time.Second
	// maxFiles bounds the files of the folder that are looked at.
	maxFiles = 4096
)

// Catalogue has the charts that can be installed: the operator's own, under the operator's
// version, and those of a folder, packaged (.tgz) or as folders, each under the version in
// its Chart.yaml with a "v" before it. It may be used concurrently.
type Catalogue struct {
	version string
	own     *Chart
	dir     string
	log     *slog.Logger

	mu     sync.Mutex
	looked time.Time
	stamp  string
	found  map[string]*Chart
}

// NewCatalogue returns the catalogue of the operator's own chart, of this version, and the
// charts in dir; "" is no folder. What cannot be read is named in log and left out. Files
// that come, change or go are seen at the next lookup.
func NewCatalogue(version string, own *Chart, dir string, log *slog.Logger) *Catalogue {
	return &Catalogue{version: version, own: own, dir: dir, log: log}
}

// Own is the operator's own chart.
func (c *Catalogue) Own() *Chart { return c.own }

// Chart returns the chart of a version.
func (c *Catalogue) Chart(version string) (*Chart, bool) {
	if version == c.version {
		return c.own, true
	}
	chart, ok := c.folder()[version]
	return chart, ok
}

// Versions are those that there is a chart of, the highest first.
func (c *Catalogue) Versions() []string {
	all := slices.Collect(maps.Keys(c.folder()))
	if !slices.Contains(all, c.version) {
		all = append(all, c.version)
	}
	slices.SortFunc(all, func(a, b string) int { return compareVersions(b, a) })
	return all
}

// compareVersions orders versions; what is none is lower than every one that is.
func compareVersions(a, b string) int {
	va, ea := version.ParseSemantic(a)
	vb, eb := version.ParseSemantic(b)
	switch {
	case ea != nil && eb != nil:
		return cmp.Compare(a, b)
	case ea != nil:
		return -1
	case eb != nil:
		return 1
	case va.LessThan(vb):
		return -1
	case vb.LessThan(va):
		return 1
	}
	return cmp.Compare(a, b)
}

// folder returns the charts of the folder, read anew when it has changed.
func (c *Catalogue) folder() map[string]*Chart {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dir == "" || time.Since(c.looked) < lookEvery {
		return c.found
	}
	c.looked = time.Now()
	stamp := stampOf(c.dir)
	if stamp == c.stamp {
		return c.found
	}
	c.stamp, c.found = stamp, map[string]*Chart{}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		c.log.Error("The folder of charts cannot be read (--chart-dir)", "folder", c.dir, "error", err)
		return c.found
	}
	for _, e := range entries {
		// A volume of a ConfigMap has folders of its own, such as ..data.
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		chart, err := c.read(e.Name())
		if err != nil {
			c.log.Error("A chart is left out (--chart-dir)", "file", filepath.Join(c.dir, e.Name()), "error", err)
			continue
		}
		if chart != nil {
			c.found["v"+strings.TrimPrefix(chart.Version(), "v")] = chart
		}
	}
	c.log.Info("Read the charts", "folder", c.dir, "charts", len(c.found))
	return c.found
}

// read reads one entry of the folder, nil when it is no chart.
func (c *Catalogue) read(name string) (*Chart, error) {
	path := filepath.Join(c.dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	var chart *Chart
	switch {
	case info.IsDir():
		chart, err = helm.Load(os.DirFS(c.dir), name)
	case strings.HasSuffix(name, ".tgz"):
		var f *os.File
		if f, err = os.Open(path); err != nil {
			return nil, err
		}
		defer f.Close()
		chart, err = helm.LoadArchive(name, f)
	default:
		return nil, nil
	}
	if err == nil && chart.Name() != c.own.Name() {
		return nil, fmt.Errorf("it is chart %s, and only charts named %s are installed", chart.Name(), c.own.Name())
	}
	return chart, err
}

// stampOf changes when a file below a folder comes, changes or goes.
func stampOf(dir string) string {
	var s strings.Builder
	files := 0
	var walk func(string)
	walk = func(at string) {
		entries, err := os.ReadDir(at)
		if err != nil {
			fmt.Fprintf(&s, "%s: %v\n", at, err)
			return
		}
		for _, e := range entries {
			if files++; files > maxFiles || strings.HasPrefix(e.Name(), ".") {
				continue
			}
			path := filepath.Join(at, e.Name())
			info, err := os.Stat(path)
			if err != nil {
				fmt.Fprintf(&s, "%s: %v\n", path, err)
				continue
			}
			if info.IsDir() {
				walk(path)
				continue
			}
			fmt.Fprintf(&s, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
		}
	}
	walk(dir)
	return s.String()
}
