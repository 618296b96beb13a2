// SPDX-License-Identifier: Apache-2.0

package clusternetworkpolicy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// maxMessage bounds the message of a condition (the API allows 32,768 characters).
const maxMessage = 4096

// setStatus makes the status that of an outcome and says whether it differs. others are the
// replicas that serve nodes which the policy concerns and that are not connected to this one.
func setStatus(p *policyv1.ClusterNetworkPolicy, o outcome, self string, others []string) (changed bool) {
	accepted := metav1.Condition{
		Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAccepted,
		Message: "All of the policy is enforced", ObservedGeneration: o.generation,
	}
	if len(o.findings) > 0 {
		accepted.Status, accepted.Reason, accepted.Message = metav1.ConditionFalse, v1alpha1.ReasonPartsUnusable, faults(o)
	}
	changed = meta.SetStatusCondition(&p.Status.Conditions, accepted)
	if c, due := inForce(p, o, self, others); due {
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

// inForce is the condition, and whether it is to be written. Each replica adds what its own
// subscribers say to what others have written of the same generation. That it is in force, or
// refused, is not taken back.
func inForce(p *policyv1.ClusterNetworkPolicy, o outcome, self string, others []string) (c metav1.Condition, due bool) {
	c = metav1.Condition{Type: v1alpha1.ConditionInForce, ObservedGeneration: o.generation, Status: metav1.ConditionFalse}
	said := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionInForce)
	if said == nil || said.ObservedGeneration != o.generation {
		said = &metav1.Condition{}
	}
	in := o.inForce
	shares := sharesOf(said.Message)
	if in != nil && in.Here > 0 {
		shares[self] = in.Here
	}
	missing := slices.DeleteFunc(others, func(r string) bool { return r == self || shares[r] > 0 })
	switch {
	case said.Reason == v1alpha1.ReasonRefused:
		return c, false
	case in == nil:
		c.Reason, c.Message = v1alpha1.ReasonWaiting, "Agents have not acknowledged it yet"
		return c, said.Reason == ""
	case in.Refused > 0:
		c.Reason = v1alpha1.ReasonRefused
		c.Message = fmt.Sprintf("refused by %d nodes, acknowledged by %d; the NodeNetworks have their words", in.Refused, in.Acknowledged)
		return c, true
	case said.Status == metav1.ConditionTrue || len(missing) == 0 && (len(shares) > 0 || len(in.Elsewhere) == 0):
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonAcknowledged, acknowledgedBy(shares)
	case len(missing) > 0:
		c.Reason = v1alpha1.ReasonWaiting
		c.Message = "waiting for those that are connected to " + strings.Join(missing, ", ") + "; " + acknowledgedBy(shares)
	default:
		c.Status, c.Reason = metav1.ConditionUnknown, v1alpha1.ReasonNobodyConnected
		c.Message = fmt.Sprintf("none of the %d nodes that it concerns is connected", len(in.Elsewhere))
	}
	return c, true
}

// acknowledgedBy names who has acknowledged, by the replica that they are connected to.
func acknowledgedBy(shares map[string]int) string {
	total := 0
	var each []string
	for _, replica := range slices.Sorted(maps.Keys(shares)) {
		total += shares[replica]
		each = append(each, fmt.Sprintf("%s %d", replica, shares[replica]))
	}
	text := fmt.Sprintf("acknowledged by %d nodes", total)
	if len(each) > 0 {
		text += " (" + strings.Join(each, ", ") + ")"
	}
	return text
}

// sharesOf reads what acknowledgedBy wrote.
func sharesOf(message string) map[string]int {
	out := map[string]int{}
	_, list, ok := strings.Cut(message, " (")
	list, closed := strings.CutSuffix(list, ")")
	if !ok || !closed {
		return out
	}
	for each := range strings.SplitSeq(list, ", ") {
		replica, count, _ := strings.Cut(each, " ")
		if n, err := strconv.Atoi(count); err == nil && n > 0 {
			out[replica] = n
		}
	}
	return out
}
