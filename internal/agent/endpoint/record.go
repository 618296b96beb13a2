// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// recordVersion is the version of the record's layout on disk.
const recordVersion = 1

// Pod names the Kubernetes pod behind an attachment. All fields are empty when
// the runtime passed none (cnitool).
type Pod struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
}

// String returns "namespace/name", or "unnamed pod".
func (p Pod) String() string {
	if p.Name == "" {
		return "unnamed pod"
	}
	return p.Namespace + "/" + p.Name
}

// Key identifies an attachment: the CNI specification allows one of a name per
// container and interface.
type Key struct {
	ContainerID, IfName string
}

// String returns "containerID/ifName".
func (k Key) String() string { return k.ContainerID + "/" + k.IfName }

// Record is what is kept of one attachment.
type Record struct {
	Version  int               `json:"version"`
	Network  string            `json:"network"`
	Pod      Pod               `json:"pod"`
	Endpoint datapath.Endpoint `json:"endpoint"`
	// Ports are ports of the node that lead to the pod.
	Ports []PortMapping `json:"ports,omitempty"`
}

// PortMapping is a port of the node that leads to a port of a pod (the CNI capability
// portMappings).
type PortMapping struct {
	// HostIP is the only address of the node that has it; invalid for all.
	HostIP        netip.Addr        `json:"hostIP,omitzero"`
	HostPort      uint16            `json:"hostPort"`
	ContainerPort uint16            `json:"containerPort"`
	Protocol      datapath.Protocol `json:"protocol"`
}

// Key returns the record's key.
func (r Record) Key() Key {
	return Key{ContainerID: r.Endpoint.ContainerID, IfName: r.Endpoint.IfName}
}

// decodeRecord reads a record and checks what the rest of the agent relies on.
func decodeRecord(b []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return Record{}, err
	}
	switch {
	case r.Version != recordVersion:
		return Record{}, fmt.Errorf("version is %d, this agent reads %d", r.Version, recordVersion)
	case !validFileKey(r.Key()):
		return Record{}, fmt.Errorf("container ID %q and interface %q cannot name an attachment", r.Endpoint.ContainerID, r.Endpoint.IfName)
	case len(r.Endpoint.Addresses) == 0:
		return Record{}, errors.New("it has no address")
	}
	for _, a := range r.Endpoint.Addresses {
		if a.Zone() != "" || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a != a.Unmap() {
			return Record{}, fmt.Errorf("%s cannot be a pod's address", a)
		}
	}
	return r, nil
}

func validFileKey(k Key) bool {
	ok := func(s string, most int) bool {
		return s != "" && len(s) <= most && s[0] != '.' && !strings.ContainsAny(s, "/\x00")
	}
	return ok(k.ContainerID, 200) && ok(k.IfName, 15)
}

// Store keeps records in a folder, one file each. A record is replaced as a
// whole (write beside it, rename), so that a reader never meets half of one.
type Store struct {
	dir string
}

// NewStore returns a store in dir, which is made when it does not exist.
func NewStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("endpoint records: %w", err)
	}
	return &Store{dir: dir}, nil
}

func (s *Store) path(k Key) string {
	return filepath.Join(s.dir, k.ContainerID+"_"+k.IfName+".json")
}

// Save writes a record.
func (s *Store) Save(r Record) error {
	r.Version = recordVersion
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tmp := s.path(r.Key()) + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("endpoint record: %w", errors.Join(err, ignoreMissing(os.Remove(tmp))))
	}
	return os.Rename(tmp, s.path(r.Key()))
}

// Delete removes a record; a missing one is no error.
func (s *Store) Delete(k Key) error {
	return ignoreMissing(os.Remove(s.path(k)))
}

// Load reads all records. A file that cannot be read as a record is removed and
// reported in problems: its attachment is unknown from then on, and the datapath
// prunes what is unknown.
func (s *Store) Load() (records []Record, problems []error, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("endpoint records: %w", err)
	}
	claimed := map[netip.Addr]string{}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(s.dir, e.Name())
		r, err := readRecord(path, claimed)
		if err != nil {
			problems = append(problems, fmt.Errorf("endpoint record %s is removed: %w", path, errors.Join(err, ignoreMissing(os.Remove(path)))))
			continue
		}
		for _, a := range r.Endpoint.Addresses {
			claimed[a] = r.Key().String()
		}
		records = append(records, r)
	}
	return records, problems, nil
}

func readRecord(path string, claimed map[netip.Addr]string) (Record, error) {
	if !strings.HasSuffix(path, ".json") {
		return Record{}, errors.New("its writing was interrupted")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return Record{}, err
	}
	r, err := decodeRecord(b)
	if err != nil {
		return Record{}, err
	}
	if k := r.Key(); filepath.Base(path) != k.ContainerID+"_"+k.IfName+".json" {
		return Record{}, fmt.Errorf("its content is of attachment %s", k)
	}
	for _, a := range r.Endpoint.Addresses {
		if by, ok := claimed[a]; ok {
			return Record{}, fmt.Errorf("address %s is in the record of %s too", a, by)
		}
	}
	return r, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
