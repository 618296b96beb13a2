// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// Change is a field of a cluster's configuration that gets another value, and what
// that does to the running cluster.
type Change struct {
	// Reason is one of api's reasons of events.
	Reason string
	// Field is the field's path in the ClusterStack.
	Field    string
	From, To string
	// Effect says, to a person, what happens and what it needs.
	Effect string
}

func (c Change) String() string {
	return fmt.Sprintf("%s: %s -> %s: %s", c.Field, c.From, c.To, c.Effect)
}

const agentsRestart = "agents restart one after another and pods keep their connections"

// Changes says what becomes of a cluster when its configuration changes, in the order
// of the fields. It is empty when nothing changes that agents can see.
func Changes(from, to v1alpha1.ClusterStackSpec) []Change {
	before, after := *from.CNI.DeepCopy(), *to.CNI.DeepCopy()
	fillDefaults(&before)
	fillDefaults(&after)
	var out []Change
	add := func(reason, field string, was, is any, effect string) {
		if a, b := fmt.Sprint(was), fmt.Sprint(is); a != b {
			out = append(out, Change{Reason: reason, Field: field, From: a, To: b, Effect: agentsRestart + effect})
		}
	}
	other := v1alpha1.ReasonConfigurationChanged
	add(other, "spec.version", from.Version, to.Version, "")
	add(v1alpha1.ReasonRoutingChanged, "spec.cni.routing.mode", before.Routing.Mode, after.Routing.Mode, routingEffect(after))
	add(other, "spec.cni.tunnel.port", before.Tunnel.Port, after.Tunnel.Port,
		"; nodes with the former port and nodes with the new one do not reach each other's pods until the last agent has restarted")
	if before.MTU != after.MTU {
		add(other, "spec.cni.mtu", mtuRule(before), mtuRule(after), "; pods get the new MTU")
	}
	add(other, "spec.cni.masquerade", *before.Masquerade, *after.Masquerade, "; connections to the outside that pods open from then on have the other source address")
	if !sameRanges(before.MasqueradeExceptions, after.MasqueradeExceptions) {
		out = append(out, Change{other, "spec.cni.masqueradeExceptions", ranges(before), ranges(after),
			agentsRestart + "; connections to these ranges that pods open from then on have the other source address"})
	}
	add(other, "spec.cni.flowTable.entries", before.FlowTable.Entries, after.FlowTable.Entries, fmt.Sprintf(
		"; each node's table takes %d MiB of memory", int64(after.FlowTable.Entries)*flowEntryBytes>>20))
	add(other, "spec.cni.policies.entries", cmp.Or(before.Policies.Entries, v1alpha1.DefaultPolicyEntries),
		cmp.Or(after.Policies.Entries, v1alpha1.DefaultPolicyEntries), "; policies in force stay so meanwhile")
	add(other, "spec.cni.policies.peerWait", before.Policies.PeerWait.Duration().Duration, after.Policies.PeerWait.Duration().Duration, "")
	add(v1alpha1.ReasonServicesChanged, "spec.cni.kubeProxyReplacement", before.KubeProxyReplacement, after.KubeProxyReplacement, replacementEffect(after))
	if after.KubeProxyReplacement == v1alpha1.KubeProxyReplacementEnabled {
		add(other, "spec.cni.services.forwarding", before.Services.Forwarding, after.Services.Forwarding, forwardingEffect(after))
		add(other, "spec.cni.services.frontends", before.Services.Frontends, after.Services.Frontends, "")
		add(other, "spec.cni.services.backends", before.Services.Backends, after.Services.Backends, fmt.Sprintf(
			"; each node's table of backends takes %d MiB of memory", int64(after.Services.Backends)*backendBytes>>20))
	}
	return out
}

// backendBytes is what a backend takes in a node's tables: its row and eight slots, which
// the kernel rounds up to 8 bytes each.
const backendBytes = 24 + 8*8

// replacementEffect says who balances Services from now on, and what that takes.
func replacementEffect(cni v1alpha1.CNISpec) string {
	if cni.KubeProxyReplacement == v1alpha1.KubeProxyReplacementEnabled {
		return "; they load-balance Services, and kube-proxy is removed when the last of them has all Services in force"
	}
	return "; they load-balance Services until kube-proxy runs on every node again: bring it back with `kubeadm init phase addon kube-proxy`"
}

// forwardingEffect says what the network must let pass.
func forwardingEffect(cni v1alpha1.CNISpec) string {
	if cni.Services.Forwarding == v1alpha1.ForwardingDSR {
		return "; nodes answer clients outside with the addresses of Services as source, which the network must let pass"
	}
	return "; answers to clients outside leave by the node that the connection came to"
}

// flowEntryBytes is what a connection takes in a node's table.
const flowEntryBytes = 128

// routingEffect says what the new mode needs of the network and does to the MTU.
func routingEffect(cni v1alpha1.CNISpec) string {
	mtu := fmt.Sprintf("; the MTU of pods is %d", cni.MTU)
	if cni.MTU == 0 {
		mtu = "; the MTU of pods follows the new mode: " + derivedMTU(cni.Routing.Mode)
	}
	if cni.Routing.Mode == v1alpha1.RoutingNative {
		return mtu + "; the network between nodes must route each node's pod range to that node, unless the nodes share a network"
	}
	return fmt.Sprintf("%s; UDP port %d must be open between the nodes", mtu, cni.Tunnel.Port)
}

// mtuRule is an MTU as a person reads it.
func mtuRule(cni v1alpha1.CNISpec) string {
	if cni.MTU != 0 {
		return fmt.Sprint(cni.MTU)
	}
	return "0 (" + derivedMTU(cni.Routing.Mode) + ")"
}

func derivedMTU(mode v1alpha1.RoutingMode) string {
	if mode == v1alpha1.RoutingNative {
		return "the uplink's"
	}
	return "the uplink's less the tunnel's overhead"
}

func sameRanges(a, b []v1alpha1.CIDR) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// maxRanges bounds the ranges that a change names: an event holds 1,024 bytes.
const maxRanges = 4

func ranges(cni v1alpha1.CNISpec) string {
	all := cni.MasqueradeExceptions
	if len(all) == 0 {
		return "none"
	}
	more := ""
	if len(all) > maxRanges {
		more = fmt.Sprintf(" and %d more", len(all)-maxRanges)
		all = all[:maxRanges]
	}
	names := make([]string, 0, len(all))
	for _, r := range all {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ") + more
}
