// SPDX-License-Identifier: Apache-2.0

package clusternetworkpolicy

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// maxMessage bounds the message of a condition (the API allows 32,768 characters).
const maxMessage = 4096

// setStatus makes the status that of an outcome and says whether it differs.
func setStatus(p *policyv1.ClusterNetworkPolicy, o outcome) (changed bool) {
	accepted := metav1.Condition{
		Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAccepted,
		Message: "All of the policy is enforced", ObservedGeneration: o.generation,
	}
	if len(o.findings) > 0 {
		accepted.Status, accepted.Reason, accepted.Message = metav1.ConditionFalse, v1alpha1.ReasonPartsUnusable, faults(o)
	}
	changed = meta.SetStatusCondition(&p.Status.Conditions, accepted)
	if c, due := inForce(p, o); due {
		changed = meta.SetStatusCondition(&p.Status.Conditions, c) || changed
	}
	return changed
}

func faults(o outcome) string {
	var lines []string
	for _, f := range o.findings {
		lines = append(lines, fmt.Sprintf("%s: %s; %s", f.Field, f.Message, f.Fix))
	}
	text := "These rules fail closed: " + strings.Join(lines, ". ")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + " ..."
	}
	return text
}

// inForce is the condition, and whether it is to be written: not while it is on its way after
// a replica has said that it is in force, and not by one that has nobody to ask.
func inForce(p *policyv1.ClusterNetworkPolicy, o outcome) (c metav1.Condition, due bool) {
	c = metav1.Condition{Type: v1alpha1.ConditionInForce, ObservedGeneration: o.generation}
	said := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionInForce)
	fresh := said == nil || said.ObservedGeneration != o.generation
	in := o.inForce
	switch {
	case in == nil:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonWaiting, "Agents have not acknowledged it yet"
		return c, fresh
	case in.Refused > 0:
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonRefused
		c.Message = fmt.Sprintf("refused by %d nodes, acknowledged by %d; the NodeNetworks have their words", in.Refused, in.Acknowledged)
		return c, true
	case in.Acknowledged == 0 && in.Nodes > 0:
		c.Status, c.Reason = metav1.ConditionUnknown, v1alpha1.ReasonNobodyConnected
		c.Message = fmt.Sprintf("none of the %d nodes that it concerns was connected to this controller", in.Nodes)
		return c, fresh
	}
	c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonAcknowledged
	c.Message = fmt.Sprintf("acknowledged by %d nodes", in.Acknowledged)
	// A replica with fewer subscribers does not contradict one that has said so already.
	return c, fresh || said.Status != metav1.ConditionTrue
}
