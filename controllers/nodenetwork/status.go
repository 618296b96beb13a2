// SPDX-License-Identifier: Apache-2.0

package nodenetwork

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

// maxMessage is the longest condition message in bytes; the API allows 32 KiB.
const maxMessage = 2048

// facts is what this replica knows when it decides on one NodeNetwork's status.
type facts struct {
	self string // this replica's pod
	now  time.Time
	// local is what this replica's server knows of the node's agent; nil if it has
	// not seen it since it started.
	local *serve.NodeStatus
	// services: agents balance Services.
	services bool
	// settled: agents had the time to come back after this replica started.
	settled bool
	// servedByGone: the replica in status.servedBy has been gone for long enough.
	servedByGone bool
	// podCIDRs and findings of the node, from the model; hasModel if there is one.
	hasModel bool
	podCIDRs []string
	findings []model.Finding
}

// next decides what the status should be. It returns the old one where another
// replica has the word:
//
//   - the replica that serves the agent writes, and becomes servedBy;
//   - a replica whose agent has left says so as long as it still is servedBy;
//   - where servedBy is empty or gone, every replica says the same, and one of them first.
func next(old v1alpha1.NodeNetworkStatus, f facts) v1alpha1.NodeNetworkStatus {
	out := *old.DeepCopy()
	switch {
	case f.local != nil && f.local.Connected:
		out.ServedBy = f.self
		out.AgentVersion = f.local.AgentVersion
		out.Wanted, out.Acknowledged = f.local.Wanted, f.local.Acknowledged
		setConnected(&out, f, metav1.ConditionTrue, v1alpha1.ReasonSubscribed, "The agent is subscribed to controller "+f.self)
	case old.ServedBy == f.self && (f.local != nil || f.settled):
		setConnected(&out, f, metav1.ConditionFalse, v1alpha1.ReasonDisconnected,
			"The agent left controller "+f.self+"; its node goes on with the state that it holds")
	case old.ServedBy == "":
		setConnected(&out, f, metav1.ConditionFalse, v1alpha1.ReasonNeverSubscribed,
			"No agent of this node has subscribed yet; look at the pod of DaemonSet fairlead-agent on the node")
	case old.ServedBy != f.self && f.servedByGone:
		setConnected(&out, f, metav1.ConditionUnknown, v1alpha1.ReasonControllerGone,
			"Controller "+old.ServedBy+" is gone, and the agent has not come to another one yet")
	default:
		return out
	}
	setAccepted(&out, f)
	setSynced(&out, f)
	setServicesReady(&out, f)
	setNearlyFull(&out, f)
	setReady(&out, f)
	return out
}

func set(s *v1alpha1.NodeNetworkStatus, f facts, kind string, status metav1.ConditionStatus, reason, message string) {
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + " ..."
	}
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(f.now),
	})
}

func setConnected(s *v1alpha1.NodeNetworkStatus, f facts, status metav1.ConditionStatus, reason, message string) {
	set(s, f, v1alpha1.ConditionConnected, status, reason, message)
}

func setAccepted(s *v1alpha1.NodeNetworkStatus, f facts) {
	if !f.hasModel {
		return
	}
	if len(f.findings) == 0 {
		set(s, f, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted, "The Node object can be used as it is")
		return
	}
	lines := make([]string, 0, len(f.findings))
	for _, finding := range f.findings {
		lines = append(lines, finding.String())
	}
	slices.Sort(lines)
	set(s, f, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonNodeInvalid, strings.Join(lines, "\n"))
}

func setSynced(s *v1alpha1.NodeNetworkStatus, f facts) {
	connected := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionConnected)
	if connected.Status != metav1.ConditionTrue {
		set(s, f, v1alpha1.ConditionSynced, metav1.ConditionUnknown, connected.Reason, "The agent is not connected")
		return
	}
	switch {
	case f.local.Synced():
		if f.hasModel {
			s.PodCIDRs = slices.Clone(f.podCIDRs)
		}
		set(s, f, v1alpha1.ConditionSynced, metav1.ConditionTrue, v1alpha1.ReasonAcknowledged, "The agent has acknowledged everything")
	case len(f.local.Refusals) > 0:
		set(s, f, v1alpha1.ConditionSynced, metav1.ConditionFalse, v1alpha1.ReasonRefused, refusals(f.local.Refusals))
	default:
		set(s, f, v1alpha1.ConditionSynced, metav1.ConditionFalse, v1alpha1.ReasonAwaitingAcknowledgement,
			"Something is on its way to the agent and not acknowledged yet")
	}
}

// serviceTypes are what an agent balances Services by.
var serviceTypes = []string{state.ServiceType, state.ServiceEndpointsType}

// setServicesReady says whether the agent balances Services. A change on its way to the
// agent takes nothing from that: in a large cluster there always is one.
func setServicesReady(s *v1alpha1.NodeNetworkStatus, f facts) {
	if !f.services {
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionServicesReady)
		return
	}
	connected := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionConnected)
	if connected.Status != metav1.ConditionTrue {
		set(s, f, v1alpha1.ConditionServicesReady, metav1.ConditionUnknown, connected.Reason, "The agent is not connected")
		return
	}
	var refused []serve.Refusal
	for _, r := range f.local.Refusals {
		if slices.Contains(serviceTypes, r.Type) {
			refused = append(refused, r)
		}
	}
	unheard := slices.ContainsFunc(serviceTypes, func(t string) bool { return !slices.Contains(f.local.Heard, t) })
	switch {
	case len(refused) > 0:
		set(s, f, v1alpha1.ConditionServicesReady, metav1.ConditionFalse, v1alpha1.ReasonRefused, refusals(refused))
	case unheard:
		set(s, f, v1alpha1.ConditionServicesReady, metav1.ConditionFalse, v1alpha1.ReasonAwaitingAcknowledgement,
			"The agent has not acknowledged all Services since it subscribed")
	default:
		set(s, f, v1alpha1.ConditionServicesReady, metav1.ConditionTrue, v1alpha1.ReasonServicesInForce, "The agent balances all Services")
	}
}

// setNearlyFull keeps the condition while the agent says so. Of one that is away nothing newer
// is known.
func setNearlyFull(s *v1alpha1.NodeNetworkStatus, f facts) {
	switch {
	case !f.services:
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionServiceMapsNearlyFull)
	case f.local == nil || !f.local.Connected:
	case f.local.LittleRoom == "":
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionServiceMapsNearlyFull)
	default:
		set(s, f, v1alpha1.ConditionServiceMapsNearlyFull, metav1.ConditionTrue, v1alpha1.ReasonLittleRoom, f.local.LittleRoom)
	}
}

// refusals says what was refused in the agent's words: the first three, and how many more.
func refusals(all []serve.Refusal) string {
	const shown = 3
	var lines []string
	for _, r := range all[:min(shown, len(all))] {
		lines = append(lines, fmt.Sprintf("The agent refused %s %q: %s", state.ShortType(r.Type), r.Name, r.Message))
	}
	if more := len(all) - shown; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// setReady sums up: the first condition that is not True has the word.
func setReady(s *v1alpha1.NodeNetworkStatus, f facts) {
	for _, kind := range []string{v1alpha1.ConditionConnected, v1alpha1.ConditionAccepted, v1alpha1.ConditionSynced} {
		c := meta.FindStatusCondition(s.Conditions, kind)
		if c == nil {
			set(s, f, v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonWaiting, "Condition "+kind+" is not known yet")
			return
		}
		if c.Status != metav1.ConditionTrue {
			set(s, f, v1alpha1.ConditionReady, c.Status, c.Reason, c.Message)
			return
		}
	}
	set(s, f, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonAcknowledged, "The agent has acknowledged everything")
}
