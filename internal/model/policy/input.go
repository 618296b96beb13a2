// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"hash/fnv"
	"net/netip"
)

// Pod is what policies can see of a pod.
type Pod struct {
	Namespace, Name, UID string
	// Node is empty until the pod is bound to one.
	Node   string
	Labels map[string]string
	// HostNetwork and Finished pods are neither subjects nor peers.
	HostNetwork, Finished bool
	// Addresses as in status.podIPs.
	Addresses []netip.Addr
	// Ports are the container ports that have a name; of equal names and protocols the first
	// counts.
	Ports []NamedPort
}

// NamedPort is a container port with a name. Protocol is an IANA number.
type NamedPort struct {
	Name     string
	Protocol uint8
	Port     uint16
}

// member is somebody whom selectors can mean: a pod, or a node in nodesNamespace.
type member struct {
	namespace, name string
	uid, node       string
	hash            uint32
	labels          map[string]string
	ports           []NamedPort
	reported        []netip.Addr // by the API
	registered      []netip.Addr // by the node, until the API reports others
	groups          []*group
	policies        []*policy // that its node holds on its behalf, sorted by name
	given           string    // version of the subject that the node has; empty: none
	dirty, gone     bool
}

func (m *member) addresses() []netip.Addr {
	if len(m.registered) > 0 {
		return m.registered
	}
	return m.reported
}

func (m *member) isPod() bool { return m.namespace != nodesNamespace }

func hash(namespace, name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(namespace + "/" + name))
	v := h.Sum32()
	return v ^ v>>16 // the low bits choose the block
}

// namespace is one that somebody has spoken of.
type namespace struct {
	name    string
	labels  map[string]string
	known   bool // there is an object
	fixed   int  // groups of this namespace alone
	members map[string]*member
	groups  int // that can mean its pods: 0: it is outside of the scope
}
