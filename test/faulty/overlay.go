// SPDX-License-Identifier: Apache-2.0

package faulty

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/format"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// module is the path of the package that has the faults' packages.
const module = "github.com/fairlead-io/fairlead/test/faulty/"

// Fault is a change to one file of the product.
type Fault struct {
	// File is its path below the root of the source.
	File string
	// Import is the package below test/faulty that has the fault.
	Import string
	// Before is a line of the file that there is once after the line After, and Call
	// what is put before it.
	After, Before, Call string
}

// faults are all that there are, by name.
var faults = map[string]Fault{
	"lossy": {
		File: "internal/datapath/load/load.go", Import: "lossy",
		After:  "func (m *Maps) loadOne(p bpf.Program, s Settings) (*ebpf.Program, error) {",
		Before: "coll, err := m.collect(spec, s)",
		Call: "lossy.Prepend(spec, p.Name, lossy.Pods{Range4: s.Pods4, Range6: s.Pods6, TunnelPort: s.TunnelPort, " +
			"HasUplink: s.UplinkIfindex != 0})",
	},
	"failing": {
		File: "cmd/fairlead-agent/agent.go", Import: "failing",
		After:  "func newAgentCommand() *cobra.Command {",
		Before: "return agent.Run(cmd.Context(), cfg, kube, log)",
		Call:   "if err := failing.Start(cfg.NodeName); err != nil { return err }",
	},
}

// Names returns the names of all faults.
func Names() []string { return slices.Sorted(maps.Keys(faults)) }

// Overlay writes the changed source of a fault into a folder, and returns the file for
// go build -overlay. root is the root of the source; the folder may be relative to it, then
// the go command must be run there.
func Overlay(root, name, folder string) (string, error) {
	f, known := faults[name]
	if !known {
		return "", fmt.Errorf("there is no fault %q: choose one of %v", name, Names())
	}
	source, err := os.ReadFile(filepath.Join(root, f.File))
	if err != nil {
		return "", fmt.Errorf("fault %s: %w", name, err)
	}
	changed, err := f.change(string(source))
	if err != nil {
		return "", fmt.Errorf("fault %s: %s: %w", name, f.File, err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(folder, filepath.Base(f.File))
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, f.File): file}})
	if err != nil {
		return "", err
	}
	to := filepath.Join(folder, "overlay.json")
	return to, errors.Join(os.WriteFile(file, changed, 0o644), os.WriteFile(to, overlay, 0o644))
}

// change puts the fault into the source.
func (f Fault) change(source string) ([]byte, error) {
	head, rest, found := strings.Cut(source, "\n"+f.After+"\n")
	if !found {
		return nil, fmt.Errorf("there is no line %q any more: find the fault another place", f.After)
	}
	body, tail, found := strings.Cut(rest, f.Before)
	if !found {
		return nil, fmt.Errorf("there is no %q after %q any more: find the fault another place", f.Before, f.After)
	}
	head = strings.Replace(head, "import (\n", "import (\n\t\""+module+f.Import+"\"\n", 1)
	return format.Source([]byte(head + "\n" + f.After + "\n" + body + f.Call + "\n" + f.Before + tail))
}
