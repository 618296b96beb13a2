// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"errors"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet"
)

// stopped ends a reconcile whose reason is in a condition already: an event, or a
// person, brings the next one.
type stopped struct {
	reason, message string
	person          bool
}

func (e *stopped) Error() string { return e.message }

// stop sets a condition False and ends the reconcile without a retry.
func (s *scope) stop(kind, reason, message string) error {
	s.set(kind, false, reason, message)
	return &stopped{reason: reason, message: message}
}

// stopForPerson is stop for what only a person can change.
func (s *scope) stopForPerson(kind, reason, message string) error {
	s.set(kind, false, reason, message)
	return &stopped{reason: reason, message: message, person: true}
}

// person ends a reconcile for what only a person can change, as a condition says already.
func (s *scope) person(kind string) error {
	c := meta.FindStatusCondition(s.cs.Status.Conditions, kind)
	return &stopped{reason: c.Reason, message: c.Message, person: true}
}

// fail sets a condition False for an error and returns the error. Errors that speak
// of the connection leave the condition alone, it is not about them.
func (s *scope) fail(kind, reason string, err error) error {
	if err == nil {
		return nil
	}
	var ended *stopped
	if _, ok := s.problem(err); !ok && !errors.As(err, &ended) {
		s.set(kind, false, reason, err.Error())
	}
	return err
}

// problem returns what an error says of the connection.
func (s *scope) problem(err error) (*fleet.Problem, bool) {
	return fleet.AsProblem(err, client.ObjectKey{Namespace: s.cs.Namespace, Name: s.cs.Spec.ClusterName})
}

// settle ends a reconcile: it computes Ready, Reconciling and Stalled, and returns
// only errors that are to be retried.
func (s *scope) settle(err error) error {
	var ended *stopped
	p, connection := s.problem(err)
	stalled, reason := "", ""
	switch {
	case connection:
		s.set(v1alpha1.ConditionConnected, false, p.Reason, p.Message)
		if p.Person {
			stalled, reason = p.Message, p.Reason
		}
		if s.cs.Status.Update.Phase != v1alpha1.UpdateProven {
			// The time that a cluster is away is not the update's.
			s.cs.Status.Update.StartedAt = nil
		}
		err = nil
	case errors.As(err, &ended):
		if ended.person {
			stalled, reason = ended.message, ended.reason
		}
		err = nil
	case noAnswer(err):
		s.set(v1alpha1.ConditionConnected, false, v1alpha1.ReasonUnreachable, err.Error())
	}
	ready := s.ready()
	s.setCondition(ready)
	paused := s.cs.Spec.Paused
	s.setAbnormal(v1alpha1.ConditionStalled, stalled != "", reason, stalled)
	s.setAbnormal(v1alpha1.ConditionReconciling, ready.Status != metav1.ConditionTrue && stalled == "" && !paused, ready.Reason, ready.Message)
	return err
}

// noAnswer says that a request found nobody to answer it.
func noAnswer(err error) bool {
	return err != nil && (utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsTimeout(err))
}

// ready is a summary: the first of the conditions it rests on that is not True.
func (s *scope) ready() metav1.Condition {
	if c := s.breached(); c != nil {
		return *c
	}
	for _, kind := range []string{
		v1alpha1.ConditionConnected, v1alpha1.ConditionReleased, v1alpha1.ConditionTrusted, v1alpha1.ConditionRolledOut, v1alpha1.ConditionProven,
	} {
		c := meta.FindStatusCondition(s.cs.Status.Conditions, kind)
		switch {
		case c == nil && s.cs.Spec.Paused:
			return metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonPaused,
				Message: "spec.paused of NetworkStack " + s.cs.Spec.NetworkStack + " holds changes back"}
		case c == nil:
			return metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonWaiting, Message: "waiting for " + kind}
		case c.Status != metav1.ConditionTrue:
			return metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: c.Reason, Message: c.Message}
		}
	}
	if c := s.kubeProxyStands(); c != nil {
		return *c
	}
	rolled := meta.FindStatusCondition(s.cs.Status.Conditions, v1alpha1.ConditionRolledOut)
	return metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: rolled.Reason, Message: rolled.Message}
}

// breached is the gate that does not hold, nil for none: it matters more than what else
// is on its way.
func (s *scope) breached() *metav1.Condition {
	c := meta.FindStatusCondition(s.cs.Status.Conditions, v1alpha1.ConditionProven)
	if c == nil || c.Status != metav1.ConditionFalse || !v1alpha1.IsBreach(c.Reason) {
		return nil
	}
	return &metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: c.Reason, Message: c.Message}
}

// ended ends the reconcile for what a condition says already.
func (s *scope) ended(kind string) error {
	c := meta.FindStatusCondition(s.cs.Status.Conditions, kind)
	return &stopped{reason: c.Reason, message: c.Message}
}

// kubeProxyStands is what keeps the cluster from being Ready on account of kube-proxy: it
// shall be removed and is not, or shall be back and is not; nil for nothing.
func (s *scope) kubeProxyStands() *metav1.Condition {
	c := meta.FindStatusCondition(s.cs.Status.Conditions, v1alpha1.ConditionKubeProxyRemoved)
	enabled := s.cs.Spec.CNI.KubeProxyReplacement == v1alpha1.KubeProxyReplacementEnabled
	switch {
	case c == nil && enabled:
		return &metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonWaiting,
			Message: "waiting for " + v1alpha1.ConditionKubeProxyRemoved}
	case c != nil && (!enabled || c.Status != metav1.ConditionTrue):
		return &metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: c.Reason, Message: c.Message}
	}
	return nil
}

func (s *scope) set(kind string, is bool, reason, message string) {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	s.setCondition(metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message})
}

func (s *scope) setCondition(c metav1.Condition) {
	c.ObservedGeneration = s.cs.Generation
	meta.SetStatusCondition(&s.cs.Status.Conditions, c)
}

// setAbnormal keeps a condition only while it is True.
func (s *scope) setAbnormal(kind string, is bool, reason, message string) {
	if !is {
		meta.RemoveStatusCondition(&s.cs.Status.Conditions, kind)
		return
	}
	s.set(kind, true, reason, message)
}
