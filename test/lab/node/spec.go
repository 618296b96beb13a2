// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fairlead-io/fairlead/test/lab/atomicfile"
)

// Where a machine sees what the lab gives it.
const (
	BinDir    = "/lab/bin"    // The lab's binaries, read-only.
	ConfigDir = "/lab/config" // The machine's configuration, read-only.
	LogDir    = "/lab/log"    // What its services write.
	SharedDir = "/lab/shared" // One folder that the host and all machines of the lab share.
)

// Spec is all that a machine's init needs to know; it is handed over as a file.
type Spec struct {
	Name     string            `json:"name"`     // Also the host name.
	Netns    string            `json:"netns"`    // Name below /run/netns.
	Cgroup   string            `json:"cgroup"`   // Relative to each hierarchy's root.
	Dir      string            `json:"dir"`      // The machine's disk on the host.
	Logs     string            `json:"logs"`     // On the host.
	Bin      string            `json:"bin"`      // On the host.
	Shared   string            `json:"shared"`   // On the host.
	Masked   map[string]string `json:"masked"`   // Files below /proc/sys to show with a fixed content instead of the host's.
	Services []Service         `json:"services"` // Started in this order, restarted when they end.
}

// Service is one program that the machine keeps running.
type Service struct {
	Name string   `json:"name"` // Of its log.
	Argv []string `json:"argv"` // Paths as the machine sees them.
	Env  []string `json:"env,omitempty"`
	// After is a file, as the machine sees it, without which the service does not start yet.
	After string `json:"after,omitempty"`
}

// Config returns where, on the host, the files of ConfigDir are.
func (s Spec) Config() string { return filepath.Join(s.Dir, "config") }

// Disk returns where, on the host, the machine's folder /name is.
func (s Spec) Disk(name string) string { return filepath.Join(s.Dir, "disk", name) }

func (s Spec) path() string { return filepath.Join(s.Dir, "spec.json") }

func (s Spec) save() error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(s.path(), raw, 0o644)
}

// Saved is what a machine was last started with.
func Saved(machineDir string) (Spec, error) { return loadSpec(Spec{Dir: machineDir}.path()) }

func loadSpec(path string) (Spec, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return Spec{}, err
	}
	var s Spec
	if err := json.Unmarshal(raw, &s); err != nil {
		return Spec{}, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return s, nil
}
