// SPDX-License-Identifier: Apache-2.0

package nodenetwork

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func connectedAs(wanted, acked string, refusals ...serve.Refusal) *serve.NodeStatus {
	return &serve.NodeStatus{Node: "n1", AgentVersion: "v1", Connected: true, Wanted: wanted, Acknowledged: acked, Refusals: refusals}
}

// was is the status that a replica wrote while it served an agent in sync.
func was(servedBy string) v1alpha1.NodeNetworkStatus {
	return next(v1alpha1.NodeNetworkStatus{}, facts{self: servedBy, now: now, local: connectedAs("d", "d"), hasModel: true, podCIDRs: []string{"10.0.1.0/24"}})
}

func TestWhoWritesWhat(t *testing.T) {
	gone := connectedAs("d", "d")
	gone.Connected = false
	refused := serve.Refusal{Type: state.PeerNodeType, Name: "n2", Message: "no room"}
	for _, c := range []struct {
		name      string
		old       v1alpha1.NodeNetworkStatus
		f         facts
		unchanged bool
		ready     metav1.ConditionStatus
		reason    string
		message   string
		servedBy  string
	}{
		{name: "nobody ever", f: facts{}, ready: "False", reason: v1alpha1.ReasonNeverSubscribed, message: "DaemonSet fairlead-agent"},
		{name: "in sync here", f: facts{local: connectedAs("d", "d")}, ready: "True", reason: v1alpha1.ReasonAcknowledged, servedBy: "me"},
		{name: "taken over from another", old: was("other"), f: facts{local: connectedAs("d", "d")}, ready: "True", reason: v1alpha1.ReasonAcknowledged, servedBy: "me"},
		{name: "something on its way", f: facts{local: connectedAs("d", "c")}, ready: "False", reason: v1alpha1.ReasonAwaitingAcknowledgement, servedBy: "me"},
		{name: "refused", f: facts{local: connectedAs("d", "c", refused)}, ready: "False", reason: v1alpha1.ReasonRefused, message: `The agent refused PeerNode "n2": no room`, servedBy: "me"},
		{name: "many refused", f: facts{local: connectedAs("d", "c", refused, refused, refused, refused, refused)}, ready: "False", reason: v1alpha1.ReasonRefused, message: "and 2 more", servedBy: "me"},
		{name: "left here", old: was("me"), f: facts{local: gone}, ready: "False", reason: v1alpha1.ReasonDisconnected, message: "goes on with the state", servedBy: "me"},
		{name: "left here, but gone to another meanwhile", old: was("other"), f: facts{local: gone}, unchanged: true},
		{name: "this replica restarted a moment ago", old: was("me"), f: facts{}, unchanged: true},
		{name: "this replica restarted, the agent stays away", old: was("me"), f: facts{settled: true}, ready: "False", reason: v1alpha1.ReasonDisconnected, servedBy: "me"},
		{name: "another replica's", old: was("other"), f: facts{settled: true}, unchanged: true},
		{name: "a gone replica's", old: was("other"), f: facts{settled: true, servedByGone: true}, ready: "Unknown", reason: v1alpha1.ReasonControllerGone, message: "Controller other is gone", servedBy: "other"},
		{name: "the Node is bad", f: facts{local: connectedAs("d", "d"), findings: []model.Finding{{Object: "Node n1", Field: "spec.podCIDRs", Message: "none", Fix: "assign one"}}}, ready: "False", reason: v1alpha1.ReasonNodeInvalid, message: "Node n1: spec.podCIDRs: none; assign one", servedBy: "me"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.f.self, c.f.now, c.f.hasModel, c.f.podCIDRs = "me", now.Add(time.Hour), true, []string{"10.0.1.0/24"}
			got := next(c.old, c.f)
			if c.unchanged {
				if !equality.Semantic.DeepEqual(got, c.old) {
					t.Fatalf("changed to %+v", got)
				}
				return
			}
			ready := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionReady)
			if ready == nil || ready.Status != c.ready || ready.Reason != c.reason || !strings.Contains(ready.Message, c.message) || got.ServedBy != c.servedBy {
				t.Errorf("servedBy %q, Ready %+v", got.ServedBy, ready)
			}
			if len(got.Conditions) != 4 {
				t.Errorf("%d conditions: %+v", len(got.Conditions), got.Conditions)
			}
			// Deciding again changes nothing: the status must not feed itself.
			c.f.now = c.f.now.Add(time.Hour)
			if again := next(got, c.f); !equality.Semantic.DeepEqual(again, got) {
				t.Errorf("decided again it is %+v", again)
			}
		})
	}
}

// TestLittleRoomIsACondition: as long as the agent says so; of one that is away nothing newer is
// known.
func TestLittleRoomIsACondition(t *testing.T) {
	crowded, gone := connectedAs("d", "d"), connectedAs("d", "d")
	crowded.LittleRoom, gone.Connected = "backends: raise it", false
	s := was("me")
	for _, step := range []struct {
		name     string
		local    *serve.NodeStatus
		services bool
		want     string
	}{
		{"with room", connectedAs("d", "d"), true, ""},
		{"crowded", crowded, true, crowded.LittleRoom},
		{"away", gone, true, crowded.LittleRoom},
		{"with room again", connectedAs("d", "d"), true, ""},
		{"crowded again", crowded, true, crowded.LittleRoom},
		{"without Services", crowded, false, ""},
	} {
		s = next(s, facts{self: "me", now: now, local: step.local, hasModel: true, services: step.services})
		got := ""
		if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionServiceMapsNearlyFull); c != nil {
			got = c.Message
		}
		if got != step.want {
			t.Errorf("%s: the condition says %q, want %q", step.name, got, step.want)
		}
	}
}

func TestServicesAreReadyOnceAllWereHeard(t *testing.T) {
	heard := func(wanted, acked string, refused []serve.Refusal, types ...string) *serve.NodeStatus {
		s := connectedAs(wanted, acked, refused...)
		s.Heard = types
		return s
	}
	gone := heard("d", "d", nil, state.ServiceType, state.ServiceEndpointsType)
	gone.Connected = false
	peer := []serve.Refusal{{Type: state.PeerNodeType, Name: "n2", Message: "no room"}}
	service := []serve.Refusal{{Type: state.ServiceType, Name: "a/b", Message: "its port is taken"}}
	for _, c := range []struct {
		name    string
		local   *serve.NodeStatus
		status  metav1.ConditionStatus
		reason  string
		message string
	}{
		{"nothing yet", heard("d", "c", nil, state.LocalNodeType), "False", v1alpha1.ReasonAwaitingAcknowledgement, "all Services"},
		{"Services without endpoints", heard("d", "c", nil, state.ServiceType), "False", v1alpha1.ReasonAwaitingAcknowledgement, ""},
		{"all", heard("d", "d", nil, state.ServiceType, state.ServiceEndpointsType), "True", v1alpha1.ReasonServicesInForce, ""},
		{"all, and a change on its way", heard("d", "c", nil, state.ServiceEndpointsType, state.ServiceType), "True", v1alpha1.ReasonServicesInForce, ""},
		{"all, and something else refused", heard("d", "c", peer, state.ServiceType, state.ServiceEndpointsType), "True", v1alpha1.ReasonServicesInForce, ""},
		{"a Service refused", heard("d", "c", service, state.ServiceType, state.ServiceEndpointsType), "False", v1alpha1.ReasonRefused, `refused Service "a/b": its port is taken`},
		{"not connected", gone, "Unknown", v1alpha1.ReasonDisconnected, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := facts{self: "me", now: now, local: c.local, hasModel: true, services: true}
			got := meta.FindStatusCondition(next(was("me"), f).Conditions, v1alpha1.ConditionServicesReady)
			if got == nil || got.Status != c.status || got.Reason != c.reason || !strings.Contains(got.Message, c.message) {
				t.Errorf("got %+v", got)
			}
			f.services = false
			if left := meta.FindStatusCondition(next(next(was("me"), f), f).Conditions, v1alpha1.ConditionServicesReady); left != nil {
				t.Errorf("without Services there is %+v", left)
			}
		})
	}
}

func TestMessagesAreBounded(t *testing.T) {
	long := serve.Refusal{Type: state.PeerNodeType, Name: "n2", Message: strings.Repeat("ä", 5000)}
	got := next(v1alpha1.NodeNetworkStatus{}, facts{self: "me", now: now, local: connectedAs("d", "c", long), hasModel: true})
	for _, c := range got.Conditions {
		if len(c.Message) > maxMessage+10 {
			t.Errorf("%s has %d bytes", c.Type, len(c.Message))
		}
	}
}

// Only one report of a replica that seems gone: if it contradicts, it lives.
func TestDoubtIsRaisedOnce(t *testing.T) {
	r := New(Config{Self: "me", Grace: time.Second})
	nn := &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: was("other")}
	at := func(after time.Duration, alive bool) facts {
		f := facts{now: now.Add(after)}
		r.doubt(nn, alive, &f)
		return f
	}
	if at(0, false).servedByGone || at(900*time.Millisecond, false).servedByGone {
		t.Error("reported before the grace was over")
	}
	f := at(1100*time.Millisecond, false)
	if !f.servedByGone {
		t.Fatal("not reported after the grace")
	}
	r.wrote("n1", f)
	if at(2*time.Second, false).servedByGone {
		t.Error("reported again although it says that the agent is connected")
	}
	if at(3*time.Second, true).servedByGone || at(4*time.Second, false).servedByGone {
		t.Error("being alive again does not start over")
	}
}
