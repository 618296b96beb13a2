// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
)

// Ports that all labs use inside their namespaces.
const (
	APIPort     = 6443 // API servers, on the control plane's address.
	OutsideHTTP = 8080 // The outside host's HTTP echo.
	OutsideUDP  = 8081 // The outside host's UDP echo.
)

// Plan is everything about a lab that follows from its settings.
type Plan struct {
	ID         string    `json:"id"`                       // Short digest of the directory; part of every name on the machine.
	Dir        string    `json:"dir"`                      // Absolute.
	Kubernetes string    `json:"kubernetes"`               // Version.
	Also       []string  `json:"kubernetesAlso,omitempty"` // Versions that are built, too.
	CAPI       bool      `json:"capi,omitempty"`           // Cluster API runs for the hub.
	Router     string    `json:"router"`                   // Name of the router's network namespace.
	Cgroup     string    `json:"cgroup"`                   // The lab's cgroup, relative to each hierarchy's root.
	Clusters   []Cluster `json:"clusters"`                 // The hub is the first.
	Outside    Outside   `json:"outside"`
}

// Cluster is one Kubernetes cluster with ranges that no other cluster of the lab uses.
type Cluster struct {
	Name         string         `json:"name"`
	Hub          bool           `json:"hub"`
	Born         bool           `json:"born,omitempty"` // Cluster API made it; it comes and goes while the lab runs.
	Bridge       string         `json:"bridge"`         // In the router's namespace.
	NodeNetworks []netip.Prefix `json:"nodeNetworks"`
	Gateways     []netip.Addr   `json:"gateways"`
	PodCIDRs     []netip.Prefix `json:"podCIDRs"`
	ServiceCIDRs []netip.Prefix `json:"serviceCIDRs"`
	DNS          []netip.Addr   `json:"dns"`
	KubeProxy    bool           `json:"kubeProxy"` // It starts with kube-proxy.
	ControlPlane Machine        `json:"controlPlane"`
	Nodes        []Machine      `json:"nodes"`
}

// Machine is a set of namespaces that plays one machine: a node, or a control plane.
type Machine struct {
	Name    string     `json:"name"`
	Cluster string     `json:"cluster"`
	IPv4    netip.Addr `json:"ipv4"`
	IPv6    netip.Addr `json:"ipv6"`
	Cable   string     `json:"cable"`  // Its interface in the router's namespace; 15 bytes at most.
	MAC     string     `json:"mac"`    // Constant, so that a machine that comes back is known to its neighbours.
	Netns   string     `json:"netns"`  // Name below /run/netns.
	Cgroup  string     `json:"cgroup"` // Relative to each hierarchy's root.
	Dir     string     `json:"dir"`    // The machine's disk.
	Logs    string     `json:"logs"`
	Control bool       `json:"control"` // A control plane: no kubelet, no containerd.
	// Kubernetes is the version of a machine that may have another one than its lab.
	Kubernetes string `json:"kubernetes,omitempty"`
}

// Outside is the host beyond the router that plays the rest of the world.
type Outside struct {
	Netns    string         `json:"netns"`
	IPv4     netip.Addr     `json:"ipv4"`
	IPv6     netip.Addr     `json:"ipv6"`
	HTTPPort int            `json:"httpPort"`
	UDPPort  int            `json:"udpPort"`
	Networks []netip.Prefix `json:"networks"`
	Gateways []netip.Addr   `json:"gateways"`
}

// New makes the plan for settings that FromEnv has accepted.
func New(s Settings) Plan {
	sum := sha256.Sum256([]byte(s.Dir))
	id := hex.EncodeToString(sum[:])[:6]
	p := Plan{
		ID:         id,
		Dir:        s.Dir,
		Kubernetes: s.Kubernetes,
		Also:       s.Also,
		CAPI:       s.CAPI,
		Router:     "fl" + id + "-router",
		Cgroup:     "fairlead-lab-" + id,
		Outside:    outside(id),
	}
	for i, name := range append([]string{HubName}, s.Clusters...) {
		nodes := s.Nodes
		if i == 0 {
			nodes = 1
		}
		c := p.cluster(i, name, nodes)
		c.KubeProxy = c.Hub || slices.Contains(s.KubeProxy, name)
		p.Clusters = append(p.Clusters, c)
	}
	return p
}

// Cluster finds a cluster by its name.
func (p Plan) Cluster(name string) (Cluster, error) {
	for _, c := range p.Clusters {
		if c.Name == name {
			return c, nil
		}
	}
	return Cluster{}, fmt.Errorf("the lab in %s has no cluster %q: it has %v", p.Dir, name, p.clusterNames())
}

// Machine finds a node or a control plane by its name.
func (p Plan) Machine(name string) (Machine, error) {
	var names []string
	for _, m := range p.Machines() {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return Machine{}, fmt.Errorf("the lab in %s has no machine %q: it has %v", p.Dir, name, names)
}

// Machines returns every machine; each cluster's control plane comes before its nodes.
func (p Plan) Machines() []Machine {
	var all []Machine
	for _, c := range p.Clusters {
		all = append(append(all, c.ControlPlane), c.Nodes...)
	}
	return all
}

// Kubeconfig is the path of the file by which people and tests reach the cluster.
func (p Plan) Kubeconfig(cluster string) string {
	return filepath.Join(p.Dir, "kubeconfig", cluster+".yaml")
}

// APIURL is the API server's address inside the lab.
func (c Cluster) APIURL() string {
	return "https://" + netip.AddrPortFrom(c.ControlPlane.IPv4, APIPort).String()
}

// KubernetesServiceIPs are the first addresses of the service ranges, which the API server claims.
func (c Cluster) KubernetesServiceIPs() []netip.Addr {
	var ips []netip.Addr
	for _, r := range c.ServiceCIDRs {
		ips = append(ips, r.Addr().Next())
	}
	return ips
}

func (p Plan) clusterNames() (names []string) {
	for _, c := range p.Clusters {
		names = append(names, c.Name)
	}
	return names
}

func (p Plan) cluster(index int, name string, nodes int) Cluster {
	r := rangesOf(index)
	c := Cluster{
		Name: name, Hub: index == 0, Bridge: "br-" + name,
		NodeNetworks: r.nodes, PodCIDRs: r.pods, ServiceCIDRs: r.services,
		Gateways: []netip.Addr{host(r.nodes[0], gatewayHost), host(r.nodes[1], gatewayHost)},
		DNS:      []netip.Addr{host(r.services[0], dnsHost), host(r.services[1], dnsHost)},
	}
	c.ControlPlane = p.machine(index, c, name+"-cp", controlPlaneHost)
	c.ControlPlane.Control = true
	for n := 1; n <= nodes; n++ {
		c.Nodes = append(c.Nodes, p.machine(index, c, name+"-"+strconv.Itoa(n), firstNodeHost+n-1))
	}
	return c
}

func (p Plan) machine(cluster int, c Cluster, name string, number int) Machine {
	return Machine{
		Name: name, Cluster: c.Name,
		IPv4:   host(c.NodeNetworks[0], number),
		IPv6:   host(c.NodeNetworks[1], number),
		Cable:  name,
		MAC:    fmt.Sprintf("02:fa:1e:ad:%02x:%02x", cluster, number),
		Netns:  "fl" + p.ID + "-" + name,
		Cgroup: filepath.Join(p.Cgroup, name),
		Dir:    filepath.Join(p.Dir, "machines", name),
		Logs:   filepath.Join(p.Dir, "logs", name),
	}
}
