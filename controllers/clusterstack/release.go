// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/gate"
	"github.com/fairlead-io/fairlead/internal/release"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// due is what is to be done about the release.
type due struct {
	target *release.Target
	state  release.State
	action release.Action
	rel    *release.Release
}

// observeRelease reads the release and says what is to be done about it.
func (r *Reconciler) observeRelease(ctx context.Context, s *scope) (*due, error) {
	target, err := r.target(ctx, s, stack.ModeRun)
	if err != nil {
		return nil, s.refuse(err)
	}
	rel, err := target.Observe(ctx)
	if err != nil {
		return nil, s.fail(v1alpha1.ConditionReleased, v1alpha1.ReasonError, err)
	}
	observed := release.Observed{Release: rel}
	if release.Determine(observed, target.Digest) == release.Current {
		if observed.Incomplete, err = incomplete(ctx, s); err != nil {
			return nil, s.fail(v1alpha1.ConditionReleased, v1alpha1.ReasonError, err)
		}
	}
	state := release.Determine(observed, target.Digest)
	s.report(rel, state)
	return &due{target: target, state: state, action: release.Next(state), rel: rel}, nil
}

// actOnRelease does what is to be done about the release.
func (r *Reconciler) actOnRelease(ctx context.Context, s *scope, d *due) error {
	rel, state := d.rel, d.state
	if d.action != release.None {
		if s.held != "" {
			s.set(v1alpha1.ConditionReleased, false, v1alpha1.ReasonReleaseOutdated, fmt.Sprintf("the release is %s: %s", state, s.held))
			return nil
		}
		var err error
		if rel, err = r.do(ctx, s, d.target, d.action, state); err != nil {
			return s.releaseFailed(err)
		}
		state = release.Determine(release.Observed{Release: rel}, d.target.Digest)
		s.report(rel, state)
	}
	if state != release.Current {
		s.lookAgain(retryFirst)
		return s.stop(v1alpha1.ConditionReleased, v1alpha1.ReasonProgressing, fmt.Sprintf("the release is %s", state))
	}
	s.set(v1alpha1.ConditionReleased, true, v1alpha1.ReasonReleaseDeployed, fmt.Sprintf(
		"release %s/%s: revision %d of chart %s is deployed", Namespace, rel.Name, rel.Revision, rel.ChartVersion))
	return nil
}

// do performs one action, with a line in the log before and after.
func (r *Reconciler) do(ctx context.Context, s *scope, t *release.Target, action release.Action, state release.State) (*release.Release, error) {
	log := ctrl.LoggerFrom(ctx).WithValues("release", t.Name, "action", action, "state", state, "digest", t.Digest)
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
	t.Values = values
	t.Digest = stack.Digest([]any{r.Chart.Digest(), values})
	return t, nil
}

// bare is the target without values, for what needs none.
func (r *Reconciler) bare(ctx context.Context, s *scope) (*release.Target, error) {
	log := ctrl.LoggerFrom(ctx).V(1)
	return release.New(s.conn.Config, s.conn.Live, Namespace, releaseName, r.Chart, r.Discovery, func(format string, args ...any) {
		if log.Enabled() {
			log.Info(fmt.Sprintf(format, args...))
		}
	})
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

// incomplete says that the DaemonSet or the Deployment is gone. What the cache
// lacks is asked for live, because it may be behind an installation.
func incomplete(ctx context.Context, s *scope) (bool, error) {
	for name, o := range map[string]client.Object{agentName: &appsv1.DaemonSet{}, controllerName: &appsv1.Deployment{}} {
		key := client.ObjectKey{Namespace: Namespace, Name: name}
		err := s.conn.Cached.Get(ctx, key, o)
		if apierrors.IsNotFound(err) {
			err = s.conn.Live.Get(ctx, key, o)
		}
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("reading %s of the cluster: %w", key, err)
		}
	}
	return false, nil
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

// releaseFailed sorts an action's error: values that the chart refuses need a
// person, everything else is tried again.
func (s *scope) releaseFailed(err error) error {
	var refused *release.RefusedError
	if errors.As(err, &refused) {
		s.breach(&gate.Verdict{Reason: v1alpha1.ReasonUpgradeRefused, Message: refused.Error()})
		return s.stopForPerson(v1alpha1.ConditionReleased, v1alpha1.ReasonReleaseRefused, refused.Error()+
			": correct spec.cni of NetworkStack "+s.cs.Spec.NetworkStack)
	}
	for i := range s.cs.Status.Releases {
		s.cs.Status.Releases[i].State = string(release.Failed)
	}
	return s.fail(v1alpha1.ConditionReleased, v1alpha1.ReasonReleaseFailed, err)
}
