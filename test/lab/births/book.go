// SPDX-License-Identifier: Apache-2.0

package births

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/fairlead-io/fairlead/test/lab/atomicfile"
	"github.com/fairlead-io/fairlead/test/lab/plan"
)

// Book is the supervisor's view of the file. Every change is on disk when its method returns.
type Book struct {
	path string

	mu     sync.Mutex
	births []plan.Birth
}

func file(labDir string) string { return filepath.Join(labDir, "births.json") }

// Load reads the births of a lab; a lab where nothing was born has none.
func Load(labDir string) ([]plan.Birth, error) {
	raw, err := os.ReadFile(file(labDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []plan.Birth
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("%s is damaged: run `lab down` and `lab up`: %w", file(labDir), err)
	}
	return all, nil
}

// Open reads the book to write in it.
func Open(labDir string) (*Book, error) {
	all, err := Load(labDir)
	return &Book{path: file(labDir), births: all}, err
}

// Births returns what is in the book, in the order of the indexes.
func (b *Book) Births() []plan.Birth {
	b.mu.Lock()
	defer b.mu.Unlock()
	return clone(b.births)
}

// Find returns a cluster's birth.
func (b *Book) Find(cluster string) (plan.Birth, bool) {
	for _, birth := range b.Births() {
		if birth.Name == cluster {
			return birth, true
		}
	}
	return plan.Birth{}, false
}

// Reserve gives a cluster its index, the lowest that is free. One that has an index keeps it.
func (b *Book) Reserve(namespace, cluster string) (plan.Birth, error) {
	if cluster == plan.HubName {
		return plan.Birth{}, fmt.Errorf("no place for Cluster %s/%s: the lab's management cluster has this name: choose another one", namespace, cluster)
	}
	var reserved plan.Birth
	err := b.change(func(all []plan.Birth) ([]plan.Birth, error) {
		if i := index(all, cluster); i >= 0 {
			reserved = all[i]
			if reserved.Namespace != namespace {
				return nil, fmt.Errorf("no place for Cluster %s/%s: the lab has a cluster of this name, of namespace %s: choose another name", namespace, cluster, reserved.Namespace)
			}
			return all, nil
		}
		for i := 1; i <= plan.MaxBirths; i++ {
			if !slices.ContainsFunc(all, func(o plan.Birth) bool { return o.Index == i }) {
				reserved = plan.Birth{Name: cluster, Namespace: namespace, Index: i}
				all = append(all, reserved)
				slices.SortFunc(all, func(x, y plan.Birth) int { return x.Index - y.Index })
				return all, nil
			}
		}
		return nil, fmt.Errorf("no place for Cluster %s/%s: the lab has %d clusters, and node networks for no more: delete some", namespace, cluster, len(all))
	})
	return reserved, err
}

// SetControlPlane records the version and the ranges with which a control plane starts.
func (b *Book) SetControlPlane(cluster, version string, pods, services []netip.Prefix) (plan.Birth, error) {
	return b.changeOne(cluster, func(birth *plan.Birth) error {
		birth.Kubernetes, birth.PodCIDRs, birth.ServiceCIDRs = version, pods, services
		return nil
	})
}

// AddNode gives a node its number. One that has a number keeps it, and its version.
func (b *Book) AddNode(cluster, node, version string) (plan.Birth, error) {
	return b.changeOne(cluster, func(birth *plan.Birth) error {
		if slices.ContainsFunc(birth.Nodes, func(n plan.NodeBirth) bool { return n.Name == node }) {
			return nil
		}
		number, err := birth.FreeNumber()
		birth.Nodes = append(birth.Nodes, plan.NodeBirth{Name: node, Number: number, Kubernetes: version})
		return err
	})
}

// RemoveNode frees a node's number.
func (b *Book) RemoveNode(cluster, node string) error {
	_, err := b.changeOne(cluster, func(birth *plan.Birth) error {
		birth.Nodes = slices.DeleteFunc(birth.Nodes, func(n plan.NodeBirth) bool { return n.Name == node })
		return nil
	})
	return err
}

// Remove frees all that a cluster has.
func (b *Book) Remove(cluster string) error {
	return b.change(func(all []plan.Birth) ([]plan.Birth, error) {
		return slices.DeleteFunc(all, func(o plan.Birth) bool { return o.Name == cluster }), nil
	})
}

func (b *Book) changeOne(cluster string, f func(*plan.Birth) error) (plan.Birth, error) {
	var changed plan.Birth
	err := b.change(func(all []plan.Birth) ([]plan.Birth, error) {
		i := index(all, cluster)
		if i < 0 {
			return nil, fmt.Errorf("the lab has no place for cluster %s: its LabCluster is not provisioned, or deleted", cluster)
		}
		err := f(&all[i])
		changed = all[i]
		return all, err
	})
	return changed, err
}

// change works on a copy, which becomes the book once it is on disk.
func (b *Book) change(f func([]plan.Birth) ([]plan.Birth, error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	next, err := f(clone(b.births))
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Update(b.path, raw, 0o644); err != nil {
		return err
	}
	b.births = next
	return nil
}

func clone(all []plan.Birth) []plan.Birth {
	all = slices.Clone(all)
	for i := range all {
		all[i].Nodes = slices.Clone(all[i].Nodes)
	}
	return all
}

func index(all []plan.Birth, cluster string) int {
	return slices.IndexFunc(all, func(o plan.Birth) bool { return o.Name == cluster })
}
