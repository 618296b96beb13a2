// SPDX-License-Identifier: Apache-2.0

package policydiff

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"
)

const (
	nodes      = 3
	slotsHere  = 8 // pods that there is room for on the node under test
	slotsThere = 11
	own        = "node-1"
)

// touched names an object that may have changed, or gone.
type touched struct{ kind, name string }

// play is a cluster to which things happen.
type play struct {
	dice
	*Cluster
	made    int // pods until now
	touched []touched
}

func nodeName(n int) string { return fmt.Sprint("node-", n) }

// addressesAt are those of a pod at a place of a node.
func addressesAt(node, slot int) []netip.Addr {
	return []netip.Addr{
		netip.AddrFrom4([4]byte{10, 244, byte(node), byte(slot + 2)}),
		netip.MustParseAddr(fmt.Sprintf("fd00:10:244:%d::%x", node, slot+2)),
	}
}

// addressesOf are a node's.
func addressesOf(node int) []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{192, 168, 100, byte(node)}), netip.MustParseAddr(fmt.Sprintf("fd64::%x", node))}
}

func newPlay(d dice) *play {
	p := &play{dice: d, Cluster: &Cluster{
		Namespaces: map[string]*corev1.Namespace{}, Nodes: map[string]*corev1.Node{}, Pods: map[string]*corev1.Pod{},
		NetworkPolicies: map[string]*networkingv1.NetworkPolicy{}, ClusterPolicies: map[string]*policyv1.ClusterNetworkPolicy{},
	}}
	for n := range nodes {
		p.relabelNode(n + 1)
	}
	for _, name := range namespaceNames {
		p.relabelNamespace(name)
	}
	for n := 1; n <= nodes; n++ {
		for slot := range slots(n) {
			p.addPod(n, slot)
		}
	}
	for range 10 {
		p.change()
	}
	return p
}

func slots(node int) int {
	if node == 1 {
		return slotsHere
	}
	return slotsThere
}

func (p *play) touch(kind, name string) {
	if t := (touched{kind, name}); !slices.Contains(p.touched, t) {
		p.touched = append(p.touched, t)
	}
}

func (p *play) relabelNode(n int) {
	one := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName(n), Labels: p.labels()}}
	for _, a := range addressesOf(n) {
		one.Status.Addresses = append(one.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
	}
	p.Nodes[one.Name] = one
	p.touch("node", one.Name)
}

func (p *play) relabelNamespace(name string) {
	labels := p.labels()
	labels["kubernetes.io/metadata.name"] = name
	p.Namespaces[name] = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	p.touch("namespace", name)
}

// addPod makes a pod at a place of a node, in the host's network at times.
func (p *play) addPod(node, slot int) {
	p.made++
	one := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: pick(p.dice, slices.Sorted(maps.Keys(p.Namespaces))...), Name: fmt.Sprintf("pod-%d-%d", node, slot), UID: types.UID(fmt.Sprint("uid-", p.made)), Labels: p.labels()},
		Spec:       corev1.PodSpec{NodeName: nodeName(node), Containers: []corev1.Container{{}}},
	}
	if p.chance(30) { // else one whose name was used before
		one.Name = fmt.Sprint(one.Name, "-", p.made)
	}
	at := addressesAt(node, slot)
	if slot == slots(node)-1 {
		one.Spec.HostNetwork, at = true, addressesOf(node)
	} else if node != 1 && p.chance(10) {
		at = at[p.IntN(2):][:1]
	}
	for _, a := range at {
		one.Status.PodIPs = append(one.Status.PodIPs, corev1.PodIP{IP: a.String()})
	}
	port := func(name string, protocol corev1.Protocol) {
		one.Spec.Containers[0].Ports = append(one.Spec.Containers[0].Ports, corev1.ContainerPort{Name: name, Protocol: protocol, ContainerPort: int32(pick(p.dice, usedPorts...))})
	}
	for _, name := range []string{"http", "dns", "metrics"} {
		if p.chance(60) {
			port(name, pick(p.dice, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP))
		}
	}
	p.putPod(one)
}

func (p *play) putPod(one *corev1.Pod) {
	key := one.Namespace + "/" + one.Name
	p.Pods[key] = one
	p.touch("pod", key)
}

func (p *play) removePod(key string) {
	delete(p.Pods, key)
	p.touch("pod", key)
}

// at is the pod that runs at a place, and its key; nil: none.
func (p *play) at(node, slot int) (*corev1.Pod, string) {
	want := addressesAt(node, slot)
	for key, one := range p.Pods {
		if one.Spec.NodeName != nodeName(node) || one.Status.Phase == corev1.PodFailed {
			continue
		}
		if slot == slots(node)-1 && one.Spec.HostNetwork || slices.ContainsFunc(want, func(a netip.Addr) bool { return has(one, a) }) {
			return one, key
		}
	}
	return nil, ""
}

// change does one thing to the cluster.
func (p *play) change() {
	switch c := p.IntN(100); {
	case c < 30:
		p.changePod()
	case c < 38:
		p.relabelNamespace(pick(p.dice, slices.Sorted(maps.Keys(p.Namespaces))...))
	case c < 41:
		p.relabelNode(1 + p.IntN(nodes))
	case c < 44:
		p.changeNamespace()
	case c < 64:
		one := p.networkPolicy()
		if p.Namespaces[one.Namespace] == nil {
			return
		}
		p.NetworkPolicies[one.Namespace+"/"+one.Name] = one
		p.touch("networkpolicy", one.Namespace+"/"+one.Name)
	case c < 76:
		one := p.networkPolicy()
		delete(p.NetworkPolicies, one.Namespace+"/"+one.Name)
		p.touch("networkpolicy", one.Namespace+"/"+one.Name)
	case c < 91:
		one := p.clusterPolicy()
		p.ClusterPolicies[one.Name] = one
		p.touch("clusterpolicy", one.Name)
	default:
		one := p.clusterPolicy()
		delete(p.ClusterPolicies, one.Name)
		p.touch("clusterpolicy", one.Name)
	}
}

// changePod relabels a pod, ends it, or gives its place to another.
func (p *play) changePod() {
	for _, key := range slices.Sorted(maps.Keys(p.Pods)) {
		if p.Pods[key].Status.Phase == corev1.PodFailed && p.chance(20) {
			p.removePod(key)
		}
	}
	node := 1 + p.IntN(nodes)
	slot := p.IntN(slots(node))
	one, key := p.at(node, slot)
	switch {
	case one == nil:
		p.addPod(node, slot)
	case p.chance(50):
		next := one.DeepCopy()
		next.Labels = p.labels()
		p.putPod(next)
	case p.chance(20):
		next := one.DeepCopy()
		next.Status.Phase = corev1.PodFailed
		p.putPod(next)
		if p.chance(50) { // what follows has its addresses, and it is still there
			p.addPod(node, slot)
		}
	default:
		p.removePod(key)
		if p.chance(70) {
			p.addPod(node, slot)
		}
	}
}

// changeNamespace removes one with all that it has, or makes it again.
func (p *play) changeNamespace() {
	name := pick(p.dice, namespaceNames...)
	if p.Namespaces[name] == nil {
		p.relabelNamespace(name)
		return
	}
	if len(p.Namespaces) < 3 {
		return
	}
	delete(p.Namespaces, name)
	p.touch("namespace", name)
	for key, one := range p.Pods {
		if one.Namespace == name {
			p.removePod(key)
		}
	}
	for key, one := range p.NetworkPolicies {
		if one.Namespace == name {
			delete(p.NetworkPolicies, key)
			p.touch("networkpolicy", key)
		}
	}
}
