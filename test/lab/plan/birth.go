// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
)

// The room for clusters that are born, and for the nodes of one. Index 0 is the hub's.
const (
	MaxBirths = 200
	maxNumber = 254
)

// Birth is what is settled about a cluster that Cluster API makes: the rest follows from it.
type Birth struct {
	Name         string         `json:"name"`
	Namespace    string         `json:"namespace"` // Of its Cluster object.
	Index        int            `json:"index"`     // Of its node networks and its bridge.
	PodCIDRs     []netip.Prefix `json:"podCIDRs,omitempty"`
	ServiceCIDRs []netip.Prefix `json:"serviceCIDRs,omitempty"`
	Kubernetes   string         `json:"kubernetes,omitempty"` // Of its control plane; empty until that exists.
	Nodes        []NodeBirth    `json:"nodes,omitempty"`
}

// NodeBirth is what is settled about a node.
type NodeBirth struct {
	Name       string `json:"name"`
	Number     int    `json:"number"` // Of its addresses.
	Kubernetes string `json:"kubernetes"`
}

// With has, of the clusters that are born, those that have a control plane now.
func (p Plan) With(births []Birth) Plan {
	p.Clusters = slices.DeleteFunc(slices.Clone(p.Clusters), func(c Cluster) bool { return c.Born })
	for _, b := range births {
		if b.Kubernetes != "" {
			p.Clusters = append(p.Clusters, p.Born(b))
		}
	}
	return p
}

// Born is the cluster of a birth. Names of its interfaces are made of numbers, because Cluster API's
// names are too long for them.
func (p Plan) Born(b Birth) Cluster {
	nodes := nodeNetworks(b.Index)
	c := Cluster{
		Name: b.Name, Born: true, Bridge: fmt.Sprintf("br-c%d", b.Index),
		NodeNetworks: nodes, PodCIDRs: b.PodCIDRs, ServiceCIDRs: b.ServiceCIDRs,
		Gateways: []netip.Addr{host(nodes[0], gatewayHost), host(nodes[1], gatewayHost)},
	}
	for _, r := range b.ServiceCIDRs {
		c.DNS = append(c.DNS, add(r.Masked().Addr(), dnsHost))
	}
	c.ControlPlane = p.born(b.Index, c, ControlPlaneName(b.Name), controlPlaneHost, b.Kubernetes)
	c.ControlPlane.Control = true
	for _, n := range b.Nodes {
		c.Nodes = append(c.Nodes, p.born(b.Index, c, n.Name, n.Number, n.Kubernetes))
	}
	return c
}

// ControlPlaneName is the name of the machine that is a cluster's control plane.
func ControlPlaneName(cluster string) string { return cluster + "-cp" }

// born is a machine whose namespace, cable and cgroup have a short name.
func (p Plan) born(index int, c Cluster, name string, number int, version string) Machine {
	m := p.machine(index, c, name, number)
	m.Cable = fmt.Sprintf("c%dm%d", index, number)
	m.Netns, m.Cgroup = "fl"+p.ID+"-"+m.Cable, filepath.Join(p.Cgroup, m.Cable)
	m.Kubernetes = version
	return m
}

// FreeNumber is the lowest number that no node of the cluster has.
func (b Birth) FreeNumber() (int, error) {
	for n := firstNodeHost; n <= maxNumber; n++ {
		if !slices.ContainsFunc(b.Nodes, func(o NodeBirth) bool { return o.Number == n }) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("cluster %s has %d nodes, and the lab has addresses for no more: remove some", b.Name, len(b.Nodes))
}

// add returns the address that is n above another one.
func add(a netip.Addr, n int) netip.Addr {
	for range n {
		a = a.Next()
	}
	return a
}

// ProviderID is how Cluster API finds the Node of a machine.
func (m Machine) ProviderID() string { return "lab://" + m.Cluster + "/" + m.Name }
