// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/gate"
	"github.com/fairlead-io/fairlead/internal/release"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// observeRelease reads the release, reports it, and says which action is due, if any. It
// changes nothing in the cluster.
func (r *Reconciler) observeRelease(ctx context.Context, s *scope) (due release.Action, state release.State, target *release.Target, err error) {
	if target, err = r.target(ctx, s, stack.ModeRun); err != nil {
		return release.None, "", nil, s.refuse(err)
	}
	if err := r.watchForDrift(s); err != nil {
		return release.None, "", nil, err
	}
	target.Look, target.Blank = s.look, s.blank
	if _, err := target.Observe(ctx); errors.Is(err, release.ErrRewound) {
		return release.None, "", nil, r.renew(ctx, s, err)
	} else if err != nil {
		return release.None, "", nil, s.unobserved(err)
	}
	state = target.State()
	s.report(target.Release(), state)
	s.reportDrift(target)
	return target.Due(s.cs.Spec.DriftPolicy != v1alpha1.DriftReport), state, target, nil
}

// actOnRelease performs the action that is due, and says what the release is then.
func (r *Reconciler) actOnRelease(ctx context.Context, s *scope, target *release.Target, due release.Action, state release.State) error {
	if due == release.Repair && s.held != "" {
		due = release.None // the condition Drifted says it all
	}
	if due != release.None {
		if s.held != "" {
			s.set(v1alpha1.ConditionReleased, false, v1alpha1.ReasonReleaseOutdated, fmt.Sprintf("the release is %s: %s", state, s.held))
			return nil
		}
		if _, err := r.do(ctx, s, target, due, state); err != nil {
			return s.releaseFailed(err)
		}
		state = target.State()
		s.report(target.Release(), state)
		s.reportDrift(target)
	}
	switch {
	case state == release.Current, state == release.Drifted:
	case due == release.None && target.Chart == nil:
		return s.stopForPerson(v1alpha1.ConditionReleased, v1alpha1.ReasonVersionNotSupported, fmt.Sprintf(
			"there is no chart of version %s, and the cluster's release %s/%s has no revision of it either; there are charts of %s: set spec.version of NetworkStack %s to one of them, or put the chart into the operator's --chart-dir",
			s.cs.Spec.Version, Namespace, releaseName, strings.Join(r.Charts.Versions(), ", "), s.cs.Spec.NetworkStack))
	default:
		s.lookAgain(retryFirst)
		return s.stop(v1alpha1.ConditionReleased, v1alpha1.ReasonProgressing, fmt.Sprintf("the release is %s", state))
	}
	rel := target.Release()
	s.set(v1alpha1.ConditionReleased, true, v1alpha1.ReasonReleaseDeployed, fmt.Sprintf(
		"release %s/%s: revision %d of chart %s is deployed", Namespace, rel.Name, rel.Revision, rel.ChartVersion))
	return nil
}

// do performs one action, with a line in the log before and after.
func (r *Reconciler) do(ctx context.Context, s *scope, t *release.Target, action release.Action, state release.State) (*release.Release, error) {
	log := ctrl.LoggerFrom(ctx).WithValues("release", t.Name, "action", action, "state", state, "digest", t.Digest)
	if action == release.Repair {
		log = log.WithValues("drift", driftMessage(t.Drift()))
	}
	log.Info("Acting on the release")
	s.acted = true
	start := r.Now()
	rel, err := t.Do(ctx, action)
	if err != nil {
		return nil, err
	}
	log.Info("Acted on the release", "duration", r.Now().Sub(start).String())
	return rel, nil
}

// target describes the release that the cluster should have in a mode. The error is
// a *stack.FactsError or one of setting a client up.
func (r *Reconciler) target(ctx context.Context, s *scope, mode stack.Mode) (*release.Target, error) {
	spec := s.cs.Spec.DeepCopy()
	if s.services != "" {
		spec.CNI.KubeProxyReplacement = s.services
	}
	values, err := stack.Values(spec, facts(s), stack.Image{Repository: r.ImageRepository}, mode)
	if err != nil {
		return nil, err
	}
	t, err := r.bare(ctx, s)
	if err != nil {
		return nil, err
	}
	t.Values, t.Plan, t.Version = values, s.cs.Spec.PlanDigest, s.cs.Spec.Version
	if p := s.cs.Status.Proven; p != nil {
		t.Keep = p.PlanDigest
	}
	for _, i := range s.cs.Spec.DriftIgnore {
		ignore := release.Ignore{Kind: i.Kind, Name: i.Name}
		for _, f := range i.Fields {
			ignore.Fields = append(ignore.Fields, string(f))
		}
		t.Ignore = append(t.Ignore, ignore)
	}
	if t.Chart, _ = r.Charts.Chart(s.cs.Spec.Version); t.Chart != nil {
		t.Digest = stack.Digest([]any{t.Chart.Digest(), values})
	}
	return t, nil
}

// bare is the target with no more than the operator's own chart, for what needs no values.
func (r *Reconciler) bare(ctx context.Context, s *scope) (*release.Target, error) {
	log := ctrl.LoggerFrom(ctx).V(1)
	t, err := release.New(s.conn.Config, Namespace, releaseName, r.Discovery, r.memories.Of(string(s.cs.UID)), func(format string, args ...any) {
		if log.Enabled() {
			log.Info(fmt.Sprintf(format, args...))
		}
	})
	if err != nil {
		return nil, err
	}
	t.Chart, t.Now = r.Charts.Own(), r.Now
	return t, nil
}

func facts(s *scope) stack.Facts {
	return stack.Facts{
		Namespace: s.cluster.Namespace, Name: s.cluster.Name,
		EndpointHost:     s.cluster.Spec.ControlPlaneEndpoint.Host,
		EndpointPort:     s.cluster.Spec.ControlPlaneEndpoint.Port,
		KubeconfigServer: s.conn.Server,
		PodCIDRs:         s.cluster.Spec.ClusterNetwork.Pods.CIDRBlocks,
	}
}

// report puts the release into the status.
func (s *scope) report(rel *release.Release, state release.State) {
	st := v1alpha1.ReleaseStatus{Name: releaseName, State: string(state)}
	if rel != nil {
		st.ChartVersion, st.Revision, st.Digest = rel.ChartVersion, int32(rel.Revision), rel.Digest
	}
	s.cs.Status.Releases = []v1alpha1.ReleaseStatus{st}
}

// refuse turns a Cluster that cannot be given a network into a stop that waits for
// a person.
func (s *scope) refuse(err error) error {
	var f *stack.FactsError
	if errors.As(err, &f) {
		return s.stopForPerson(v1alpha1.ConditionReleased, f.Reason, f.Message)
	}
	return s.fail(v1alpha1.ConditionReleased, v1alpha1.ReasonError, err)
}

// unobserved sorts the error of a look at the release: values that the chart refuses need
// a person.
func (s *scope) unobserved(err error) error {
	if stop := s.refused(err); stop != nil {
		return stop
	}
	return s.fail(v1alpha1.ConditionReleased, v1alpha1.ReasonError, err)
}

// releaseFailed sorts an action's error: values that the chart refuses need a
// person, everything else is tried again.
func (s *scope) releaseFailed(err error) error {
	if stop := s.refused(err); stop != nil {
		return stop
	}
	for i := range s.cs.Status.Releases {
		s.cs.Status.Releases[i].State = string(release.Failed)
	}
	if apierrors.IsInvalid(err) {
		// The same objects are refused again, however often they are tried.
		s.breach(&gate.Verdict{Reason: v1alpha1.ReasonUpgradeRefused, Message: err.Error()})
	}
	return s.fail(v1alpha1.ConditionReleased, v1alpha1.ReasonReleaseFailed, err)
}

// refused is the stop of an error that only a person can help, nil for another error.
func (s *scope) refused(err error) error {
	var values *release.RefusedError
	var crd *release.CRDError
	switch {
	case errors.As(err, &values):
		s.breach(&gate.Verdict{Reason: v1alpha1.ReasonUpgradeRefused, Message: values.Error()})
		return s.stopForPerson(v1alpha1.ConditionReleased, v1alpha1.ReasonReleaseRefused, values.Error()+
			": correct spec.cni of NetworkStack "+s.cs.Spec.NetworkStack)
	case errors.As(err, &crd):
		s.breach(&gate.Verdict{Reason: v1alpha1.ReasonUpgradeRefused, Message: crd.Error()})
		return s.stopForPerson(v1alpha1.ConditionReleased, v1alpha1.ReasonReleaseRefused, crd.Error())
	}
	return nil
}
