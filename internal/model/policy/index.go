// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/fairlead-io/fairlead/internal/state"
)

// Index holds who is meant by whom. Its methods take changes over; Take returns what they
// mean for the nodes. It is not safe for concurrent use.
type Index struct {
	namespaces map[string]*namespace
	policies   map[string]*policy // by resource name
	groups     map[string]*group
	fixed      map[string]map[anchor][]*group // by namespace
	wide       map[anchor][]*group            // of all namespaces that match
	round      uint64
	// See defaultGrowAt.
	growAt, shrinkAt int

	dirtyMembers  []*member
	dirtySets     []*set
	dirtyPolicies []*policy
	dirtyScope    bool
	out           outbox
	work          Work
	broken        error
}

// NewIndex returns an empty index. Its first Take holds the scope.
func NewIndex() *Index {
	return &Index{
		namespaces: map[string]*namespace{}, policies: map[string]*policy{}, groups: map[string]*group{},
		fixed: map[string]map[anchor][]*group{}, wide: map[anchor][]*group{}, dirtyScope: true, out: outbox{},
		growAt: defaultGrowAt, shrinkAt: defaultShrinkAt,
	}
}

// SetPod takes over a pod that is new or has changed.
func (x *Index) SetPod(p Pod) {
	if p.Node == "" || p.HostNetwork || p.Finished {
		x.RemovePod(p.Namespace, p.Name)
		return
	}
	n := x.namespace(p.Namespace)
	m := n.members[p.Name]
	if m != nil && (m.uid != p.UID || m.node != p.Node) {
		x.remove(n, m)
		n, m = x.namespace(p.Namespace), nil
	}
	if m == nil {
		m = &member{namespace: p.Namespace, name: p.Name, uid: p.UID, node: p.Node, hash: hash(p.Namespace, p.Name)}
		n.members[p.Name] = m
	}
	ports := distinct(p.Ports)
	if m.given != "" && maps.Equal(m.labels, p.Labels) && slices.Equal(m.ports, ports) && slices.Equal(m.reported, p.Addresses) {
		return // nothing that policies can see
	}
	x.touch(m)
	if !slices.Equal(m.ports, ports) {
		x.leaveByPort(m)
	}
	before := m.addresses()
	if len(p.Addresses) > 0 && !slices.Equal(p.Addresses, m.reported) {
		m.registered = nil
	}
	m.ports, m.labels, m.reported = ports, p.Labels, p.Addresses
	x.readdress(m, before)
	x.join(n, m)
}

func distinct(ports []NamedPort) (out []NamedPort) {
	for _, p := range ports {
		same := func(o NamedPort) bool { return o.Name == p.Name && o.Protocol == p.Protocol }
		if p.Name != "" && !slices.ContainsFunc(out, same) {
			out = append(out, p)
		}
	}
	return out
}

// RemovePod takes over that a pod is gone.
func (x *Index) RemovePod(namespace, name string) {
	if n := x.namespaces[namespace]; n != nil && namespace != nodesNamespace {
		if m := n.members[name]; m != nil {
			x.remove(n, m)
		}
	}
}

// Register gives a pod addresses before the API has them, until it has. False: there is no
// such pod on the node.
func (x *Index) Register(namespace, name, uid, node string, addresses []netip.Addr) bool {
	n := x.namespaces[namespace]
	if n == nil || n.members[name] == nil || namespace == nodesNamespace {
		return false
	}
	m := n.members[name]
	if m.uid != uid || m.node != node {
		return false
	}
	before := m.addresses()
	m.registered = slices.Clone(addresses)
	x.readdress(m, before)
	return true
}

// Peer says whether a policy names the pod as a peer.
func (x *Index) Peer(namespace, name string) bool {
	n := x.namespaces[namespace]
	return n != nil && n.members[name] != nil && n.members[name].peer()
}

// SetNode takes over a node that is new or has changed.
func (x *Index) SetNode(name string, labels map[string]string, addresses []netip.Addr) {
	n := x.namespace(nodesNamespace)
	m := n.members[name]
	if m == nil {
		m = &member{namespace: nodesNamespace, name: name, hash: hash(nodesNamespace, name)}
		n.members[name] = m
	}
	before := m.addresses()
	m.labels, m.reported = labels, addresses
	x.readdress(m, before)
	x.join(n, m)
}

// RemoveNode takes over that a node is gone.
func (x *Index) RemoveNode(name string) {
	if n := x.namespaces[nodesNamespace]; n != nil && n.members[name] != nil {
		x.remove(n, n.members[name])
	}
}

// SetNamespace takes over the labels of a namespace.
func (x *Index) SetNamespace(name string, labels map[string]string) {
	n := x.namespace(name)
	n.known = true
	x.relabel(n, labels)
}

// RemoveNamespace takes over that a namespace is gone. Pods in it go by themselves.
func (x *Index) RemoveNamespace(name string) {
	n := x.namespaces[name]
	if n == nil {
		return
	}
	n.known = false
	x.relabel(n, assumed(name))
	x.drop(n)
}

// assumed are the labels of a namespace of which only a pod or a policy has told yet: the API
// server gives every namespace this one.
func assumed(name string) map[string]string {
	return map[string]string{"kubernetes.io/metadata.name": name}
}

func (x *Index) relabel(n *namespace, labels map[string]string) {
	if maps.Equal(n.labels, labels) {
		return
	}
	var before []*group
	x.visitWide(func(g *group) {
		if g.includes(n) {
			before = append(before, g)
		}
	})
	n.labels = labels
	x.visitWide(func(g *group) {
		if g.includes(n) {
			x.scope(n, 1)
		}
	})
	x.scope(n, -len(before))
	for _, m := range n.members {
		x.join(n, m)
	}
}

func (x *Index) visitWide(visit func(*group)) {
	for _, g := range x.groups {
		if g.namespace == "" {
			x.work.Selectors++
			visit(g)
		}
	}
}

// namespace is the row of a namespace, made when it is first spoken of.
func (x *Index) namespace(name string) *namespace {
	if n := x.namespaces[name]; n != nil {
		return n
	}
	n := &namespace{name: name, labels: assumed(name), members: map[string]*member{}}
	x.namespaces[name] = n
	x.visitWide(func(g *group) {
		if g.includes(n) {
			x.scope(n, 1)
		}
	})
	return n
}

// drop forgets a namespace of which nobody speaks any more.
func (x *Index) drop(n *namespace) {
	if !n.known && n.fixed == 0 && len(n.members) == 0 {
		x.scope(n, -n.groups)
		delete(x.namespaces, n.name)
	}
}

// scope notes that so many more groups can mean pods of a namespace.
func (x *Index) scope(n *namespace, more int) {
	before := n.groups
	n.groups += more
	if (before == 0) == (n.groups == 0) || n.name == nodesNamespace {
		return
	}
	x.dirtyScope = true
	for _, m := range n.members {
		x.touch(m)
	}
}

// touch has a pod's subject computed anew.
func (x *Index) touch(m *member) {
	if m.isPod() && !m.dirty {
		m.dirty = true
		x.dirtyMembers = append(x.dirtyMembers, m)
	}
}

// readdress has the member's blocks made anew if its addresses differ from before.
func (x *Index) readdress(m *member, before []netip.Addr) {
	if slices.Equal(before, m.addresses()) {
		return
	}
	for _, g := range m.groups {
		for _, n := range g.numbers(m) {
			x.spoil(g.sets[n], m)
		}
	}
}

// spoil has the member's block of a set made anew.
func (x *Index) spoil(s *set, m *member) {
	s.block(m).dirty = true
	x.spoilSet(s)
}

func (x *Index) spoilSet(s *set) {
	if !s.dirty {
		s.dirty = true
		x.dirtySets = append(x.dirtySets, s)
	}
}

func (x *Index) remove(n *namespace, m *member) {
	for _, g := range m.groups {
		x.leave(g, m)
	}
	m.groups, m.gone = nil, true
	for _, p := range m.policies {
		x.release(p, m.node)
	}
	m.policies = nil
	if m.given != "" {
		x.out.take(m.node, subjectName(m))
	}
	delete(n.members, m.name)
	x.drop(n)
}

// Take returns what has changed since the last Take.
func (x *Index) Take() (Change, error) {
	x.takeSubjects()
	x.takePolicies()
	x.takeSets()
	x.takeScope()
	var c Change
	c.Scopes, x.work.Rows = x.out.change()
	c.Work = x.work
	err := x.broken
	x.out, x.work, x.broken = outbox{}, Work{}, nil
	return c, err
}

// encoded keeps the first error: names of objects are valid UTF-8, so there is none.
func (x *Index) encoded(r state.Resource, err error) state.Resource {
	if err != nil && x.broken == nil {
		x.broken = err
	}
	return r
}

// Nodes are those that hold a policy, by its resource name; in no order.
func (x *Index) Nodes(resource string) []string {
	if p := x.policies[resource]; p != nil {
		return slices.Collect(maps.Keys(p.nodes))
	}
	return nil
}
