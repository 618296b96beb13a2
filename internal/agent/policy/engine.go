// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

// Engine holds what is known of policies and of this node's pods, and says what follows for
// the datapath. It is not safe for concurrent use.
type Engine struct {
	seed   []byte
	causes causes

	// What was told.
	scope    map[string]bool // namespaces; nil: it was never known
	scoped   bool            // it is known now
	policies map[string]*policy
	subjects map[string]*subject // by "namespace/name"
	pods     map[string]*pod     // by attachment
	byName   map[string][]*pod   // by "namespace/name"
	selected map[string]map[string]bool

	// What follows.
	sets     map[string]*set
	nets     map[netip.Prefix]*nets
	lengths  [2][129]int // how many of nets have a length: IPv4, IPv6
	rows     map[netip.Prefix]*row
	rulesets map[datapath.RulesetID]*ruleset
	classes  map[datapath.ClassID]*class
	tables   map[datapath.PortTableID]*portTable
	owners   map[netip.Addr]*pod

	changes changes
	taken   bool // Take was called
}

// subject is a PolicySubject as it was told.
type subject struct {
	uid      string
	policies []string
	ports    []namedPort
	peer     bool
}

type namedPort struct {
	portName
	number uint16
}

// Pod is an attachment of a pod of this node to the pod network.
type Pod struct {
	// All of them are empty for one that Kubernetes knows nothing of.
	Namespace, Name, UID string
	Addresses            []netip.Addr
}

func (p Pod) key() string { return p.Namespace + "/" + p.Name }

// pod is an attachment and its rulesets, those of the last Take.
type pod struct {
	Pod
	rulesets [2]*ruleset // nil: not policed
	told     bool
}

// New returns an engine that knows of nothing. The seed is the node's secret: with the same
// one, what is the same has the same ids.
func New(seed []byte) *Engine {
	e := &Engine{
		seed:     slices.Clone(seed),
		policies: map[string]*policy{}, subjects: map[string]*subject{}, pods: map[string]*pod{}, byName: map[string][]*pod{},
		selected: map[string]map[string]bool{}, sets: map[string]*set{}, nets: map[netip.Prefix]*nets{}, rows: map[netip.Prefix]*row{},
		rulesets: map[datapath.RulesetID]*ruleset{}, classes: map[datapath.ClassID]*class{}, tables: map[datapath.PortTableID]*portTable{},
		owners: map[netip.Addr]*pod{},
	}
	e.causes = causes{seed: e.seed, rules: map[datapath.CauseID]*known{}}
	e.changes = newChanges()
	return e
}

// Set takes over an object. An error names what is wrong with it; what was known of it before
// stays.
func (e *Engine) Set(name string, m *state.PolicyObject) error {
	if want := state.PolicyName(m); want != name || name == "" {
		return fmt.Errorf("policy object %q: the message is of %q; is the controller of another release?", name, want)
	}
	switch o := m.GetObject().(type) {
	case *state.PolicyObject_Scope:
		e.setScope(o.Scope.GetNamespaces())
	case *state.PolicyObject_Peers:
		return e.setBlock(o.Peers)
	case *state.PolicyObject_Policy:
		p, err := e.parsePolicy(name, o.Policy)
		if err != nil {
			return err
		}
		e.setPolicy(name, p)
	case *state.PolicyObject_Subject:
		return e.setSubject(o.Subject)
	}
	return nil
}

// Remove takes over that there is no object of this name any more.
func (e *Engine) Remove(name string) {
	kind, rest, _ := strings.Cut(name, "/")
	switch kind {
	case state.PolicyScopeName:
		e.scoped = false // those that were in it are treated so
	case "peers":
		if at := strings.LastIndexByte(rest, '/'); at >= 0 {
			e.removeBlock(rest[:at], rest[at+1:])
		}
	case "policy":
		e.setPolicy(name, nil)
	case "subject":
		if _, ok := e.subjects[rest]; ok {
			e.replaceSubject(rest, nil)
		}
	}
}

func (e *Engine) setScope(namespaces []string) {
	scope := make(map[string]bool, len(namespaces))
	for _, n := range namespaces {
		scope[strings.Clone(n)] = true
	}
	for name, pods := range e.byName {
		if e.subjects[name] == nil && scope[pods[0].Namespace] != e.inScope(pods[0].Namespace) {
			e.changes.pods[name] = true
		}
	}
	e.scope, e.scoped = scope, true
}

// inScope says whether policies may matter to the pods of a namespace.
func (e *Engine) inScope(namespace string) bool { return e.scope == nil || e.scope[namespace] }

// setPolicy takes a policy over; nil: there is none any more.
func (e *Engine) setPolicy(name string, p *policy) {
	old := e.policies[name]
	if p == nil {
		delete(e.policies, name)
	} else {
		e.policies[name] = p
	}
	if old != nil {
		e.dropCauses(old)
	}
	for subject := range e.selected[name] {
		e.changes.pods[subject] = true
	}
}

func (e *Engine) setSubject(m *state.PolicySubject) error {
	name := m.GetNamespace() + "/" + m.GetName()
	s := &subject{uid: strings.Clone(m.GetUid()), peer: m.GetPeer(), policies: make([]string, 0, len(m.GetPolicies()))}
	for _, p := range m.GetPolicies() {
		s.policies = append(s.policies, strings.Clone(p))
	}
	for i, p := range m.GetPorts() {
		if p.GetProtocol() == 0 || p.GetProtocol() > 255 || p.GetPort() == 0 || p.GetPort() > 65535 {
			return fmt.Errorf("policy subject %s: ports[%d] is protocol %d, port %d, want an IANA number and a port from 1 to 65535", name, i, p.GetProtocol(), p.GetPort())
		}
		s.ports = append(s.ports, namedPort{portName{uint8(p.GetProtocol()), strings.Clone(p.GetName())}, uint16(p.GetPort())})
	}
	e.replaceSubject(name, s)
	return nil
}

// replaceSubject takes a subject over; nil: there is none any more.
func (e *Engine) replaceSubject(name string, s *subject) {
	if old := e.subjects[name]; old != nil {
		for _, p := range old.policies {
			if delete(e.selected[p], name); len(e.selected[p]) == 0 {
				delete(e.selected, p)
			}
		}
	}
	delete(e.subjects, name)
	if s != nil {
		e.subjects[name] = s
		for _, p := range s.policies {
			if e.selected[p] == nil {
				e.selected[p] = map[string]bool{}
			}
			e.selected[p][name] = true
		}
	}
	e.changes.pods[name] = true
}

// SetPod takes over that there is an attachment, or what it has become.
func (e *Engine) SetPod(key string, p Pod) {
	p.Addresses = slices.Clone(p.Addresses)
	for i, a := range p.Addresses {
		p.Addresses[i] = a.Unmap()
	}
	if old := e.pods[key]; old != nil {
		if old.key() == p.key() && old.UID == p.UID && slices.Equal(old.Addresses, p.Addresses) {
			return
		}
		e.changes.doubt = true
		e.RemovePod(key)
	}
	one := &pod{Pod: p}
	e.pods[key] = one
	e.byName[p.key()] = append(e.byName[p.key()], one)
	for _, a := range p.Addresses {
		e.owners[a] = one
		if e.changes.gone[a] { // another pod's until just now
			e.changes.doubt = true
			delete(e.changes.gone, a)
		}
	}
	e.changes.pods[p.key()] = true
}

// RemovePod takes over that an attachment is gone.
func (e *Engine) RemovePod(key string) {
	p := e.pods[key]
	if p == nil {
		return
	}
	delete(e.pods, key)
	rest := slices.DeleteFunc(e.byName[p.key()], func(o *pod) bool { return o == p })
	if e.byName[p.key()] = rest; len(rest) == 0 {
		delete(e.byName, p.key())
	}
	for _, a := range p.Addresses {
		if e.owners[a] != p {
			continue // another attachment has it by now
		}
		delete(e.owners, a)
		e.changes.gone[a] = true
	}
	for d := range p.rulesets {
		e.assign(p, d, nil)
	}
}

// Scope says whether policies may matter to the pods of a namespace; known is false while
// that is not known of any.
func (e *Engine) Scope(namespace string) (in, known bool) { return e.inScope(namespace), e.scoped }

// Subject says whether the policies of a pod are known, all that select it included, and
// whether policies somewhere name it as a peer. An empty uid is any.
func (e *Engine) Subject(namespace, name, uid string) (known, peer bool) {
	s := e.subjects[namespace+"/"+name]
	if s == nil || uid != "" && s.uid != uid {
		return false, false
	}
	for _, p := range s.policies {
		if e.policies[p] == nil {
			return false, s.peer
		}
	}
	return true, s.peer
}

// Count returns how many policies, peer sets and addresses in them are known.
func (e *Engine) Count() (policies, peerSets, addresses int) {
	for _, s := range e.sets {
		if s.peers != nil {
			peerSets++
			addresses += len(s.peers.want)
		}
	}
	return len(e.policies), peerSets, addresses
}
