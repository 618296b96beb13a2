// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fairlead-io/fairlead/internal/cniapi"
)

// ConfName is the file name of the CNI configuration. Runtimes take the first
// one in lexical order.
const ConfName = "05-fairlead.conflist"

// Network is the name of the CNI network.
const Network = "fairlead"

type confList struct {
	CNIVersion string `json:"cniVersion"`
	// CNIVersions (CNI 1.1) lets a runtime choose the newest that it knows; an
	// older runtime reads CNIVersion alone.
	CNIVersions []string     `json:"cniVersions"`
	Name        string       `json:"name"`
	Plugins     []confPlugin `json:"plugins"`
}

type confPlugin struct {
	Type         string          `json:"type"`
	Socket       string          `json:"socket,omitempty"`
	Capabilities map[string]bool `json:"capabilities,omitempty"`
}

// WriteConf writes the CNI configuration to dir, as a whole (write, rename), and
// only when it differs: runtimes reload at every change of the folder. hostPorts says
// whether pods can have ports of the node.
func WriteConf(dir, socket string, hostPorts bool) error {
	plugin := confPlugin{Type: "fairlead-cni"}
	if hostPorts {
		plugin.Capabilities = map[string]bool{"portMappings": true}
	}
	if socket != cniapi.DefaultSocket {
		plugin.Socket = socket
	}
	b, err := json.MarshalIndent(confList{
		CNIVersion:  "1.0.0",
		CNIVersions: []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"},
		Name:        Network,
		Plugins:     []confPlugin{plugin},
	}, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	path := filepath.Join(dir, ConfName)
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, b) {
		return nil
	}
	// Runtimes read *.conf, *.conflist and *.json: a leading dot and another
	// ending keep the half-written file out of their sight.
	tmp := filepath.Join(dir, "."+ConfName+".new")
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return fmt.Errorf("CNI configuration: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("CNI configuration: %w", err)
	}
	return nil
}

// RemoveConf removes what WriteConf wrote; a missing file is no error.
func RemoveConf(dir string) error {
	var errs []error
	for _, name := range []string{ConfName, "." + ConfName + ".new"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("CNI configuration: %w", err))
		}
	}
	return errors.Join(errs...)
}
