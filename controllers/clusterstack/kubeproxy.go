// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// kubeadm's kube-proxy: DaemonSet and ConfigMap have this name and namespace, the
// DaemonSet this label.
const (
	kubeProxyNamespace = metav1.NamespaceSystem
	kubeProxyName      = "kube-proxy"
	kubeProxyLabel     = "k8s-app"
)

// servicesFlag is the argument by which an agent balances Services.
const servicesFlag = "--services"

// skipKubeProxy at a KubeadmControlPlane keeps its controller from kube-proxy.
const (
	controlPlaneGroup = "controlplane.cluster.x-k8s.io"
	skipKubeProxy     = controlPlaneGroup + "/skip-kube-proxy"
)

// howToHandBack names what a person can do; it takes the ClusterStack's name.
const howToHandBack = "run `kubeadm init phase addon kube-proxy` with the cluster's kubeadm configuration on a control plane node " +
	"(ConfigMap kube-system/kube-proxy was kept), or, if something else balances Services there, annotate ClusterStack %s with " +
	v1alpha1.KubeProxyReturnedAnnotation + "=true"

// kubeProxy reads the DaemonSet live, because what it says is acted on; nil when there is
// none.
func kubeProxy(ctx context.Context, s *scope) (*appsv1.DaemonSet, error) {
	return daemonSet(ctx, s, client.ObjectKey{Namespace: kubeProxyNamespace, Name: kubeProxyName})
}

func daemonSet(ctx context.Context, s *scope, key client.ObjectKey) (*appsv1.DaemonSet, error) {
	d := &appsv1.DaemonSet{}
	err := s.conn.Live.Get(ctx, key, d)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading DaemonSet %s of the cluster: %w", key, err)
	}
	return d, nil
}

// decideServices says, before the release is brought to the cluster, who balances its
// Services in it. Where they shall be kube-proxy's again the agents keep them until it
// runs: with nobody, the cluster would stand still.
func (r *Reconciler) decideServices(ctx context.Context, s *scope) error {
	s.services = s.cs.Spec.CNI.KubeProxyReplacement
	if s.services == v1alpha1.KubeProxyReplacementEnabled {
		return s.fail(v1alpha1.ConditionReleased, v1alpha1.ReasonError, r.forgetReturn(ctx, s))
	}
	balanced, err := agentsBalance(ctx, s)
	if err != nil {
		return s.fail(v1alpha1.ConditionReleased, v1alpha1.ReasonError, err)
	}
	if !balanced {
		meta.RemoveStatusCondition(&s.cs.Status.Conditions, v1alpha1.ConditionKubeProxyRemoved)
		return nil
	}
	d, err := kubeProxy(ctx, s)
	if err != nil {
		return s.fail(v1alpha1.ConditionReleased, v1alpha1.ReasonError, err)
	}
	if (d != nil && rolledOut(d) && d.Status.DesiredNumberScheduled > 0) || s.cs.Annotations[v1alpha1.KubeProxyReturnedAnnotation] == "true" {
		return s.fail(v1alpha1.ConditionReleased, v1alpha1.ReasonError, r.mark(ctx, s, nil))
	}
	s.services = v1alpha1.KubeProxyReplacementEnabled
	why := "there is no DaemonSet " + kubeProxyNamespace + "/" + kubeProxyName
	if d != nil {
		why = fmt.Sprintf("DaemonSet %s/%s is available on %d of %d nodes", kubeProxyNamespace, kubeProxyName, d.Status.NumberAvailable, d.Status.DesiredNumberScheduled)
	}
	s.set(v1alpha1.ConditionKubeProxyRemoved, d == nil, v1alpha1.ReasonKubeProxyMissing, fmt.Sprintf(
		"spec.cni.kubeProxyReplacement is Disabled, but %s: the agents go on balancing Services until it is there. To bring it back, "+howToHandBack, why, s.cs.Name))
	return nil
}

// forgetReturn removes the annotation that spoke of an earlier time: the next time a person
// has to look again.
func (r *Reconciler) forgetReturn(ctx context.Context, s *scope) error {
	if _, there := s.cs.Annotations[v1alpha1.KubeProxyReturnedAnnotation]; !there {
		return nil
	}
	changed := s.cs.DeepCopy()
	delete(changed.Annotations, v1alpha1.KubeProxyReturnedAnnotation)
	if err := r.Client.Patch(ctx, changed, client.MergeFrom(s.cs)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("removing annotation %s: %w", v1alpha1.KubeProxyReturnedAnnotation, err)
	}
	s.cs.ObjectMeta = changed.ObjectMeta
	return nil
}

// agentsBalance says whether the agents that are installed balance Services. A DaemonSet
// that somebody deleted says nothing; the condition is there since it did.
func agentsBalance(ctx context.Context, s *scope) (bool, error) {
	d, err := daemonSet(ctx, s, client.ObjectKey{Namespace: Namespace, Name: agentName})
	if err != nil {
		return false, err
	}
	if d == nil {
		return meta.FindStatusCondition(s.cs.Status.Conditions, v1alpha1.ConditionKubeProxyRemoved) != nil, nil
	}
	return slices.ContainsFunc(d.Spec.Template.Spec.Containers, func(c corev1.Container) bool { return slices.Contains(c.Args, servicesFlag) }), nil
}

// replaceKubeProxy removes kube-proxy once every node balances Services without it.
func (r *Reconciler) replaceKubeProxy(ctx context.Context, s *scope) error {
	if s.cs.Spec.CNI.KubeProxyReplacement != v1alpha1.KubeProxyReplacementEnabled {
		if s.services == v1alpha1.KubeProxyReplacementEnabled { // decideServices has said why
			return s.person(v1alpha1.ConditionKubeProxyRemoved)
		}
		return nil
	}
	kind := v1alpha1.ConditionKubeProxyRemoved
	d, err := kubeProxy(ctx, s)
	if err != nil {
		return s.fail(kind, v1alpha1.ReasonError, err)
	}
	what := "DaemonSet " + kubeProxyNamespace + "/" + kubeProxyName
	switch {
	case d == nil:
		s.set(kind, true, v1alpha1.ReasonKubeProxyAbsent, "there is no "+what)
		return nil
	case d.Labels[kubeProxyLabel] != kubeProxyName:
		s.set(kind, false, v1alpha1.ReasonKubeProxyForeign, fmt.Sprintf(
			"%s has no label %s=%s, so it is not the one that kubeadm makes: remove it when every node's NodeNetwork has %s=True",
			what, kubeProxyLabel, kubeProxyName, v1alpha1.ConditionServicesReady))
		return s.person(kind)
	case !s.rollout.done || len(s.rollout.unserved) > 0:
		s.set(kind, false, v1alpha1.ReasonServicesNotReady, what+" is kept until every node balances Services"+named("not yet", s.rollout.unserved))
		return nil
	}
	if s.held != "" {
		s.set(kind, false, v1alpha1.ReasonPaused, s.held)
		return nil
	}
	yes := ""
	if err := r.mark(ctx, s, &yes); err != nil {
		return s.fail(kind, v1alpha1.ReasonError, err)
	}
	opts := []client.DeleteOption{client.PropagationPolicy(metav1.DeletePropagationBackground), client.Preconditions{UID: &d.UID}}
	if err := client.IgnoreNotFound(s.conn.Live.Delete(ctx, d, opts...)); err != nil {
		return s.fail(kind, v1alpha1.ReasonError, fmt.Errorf("removing %s of the cluster: %w", what, err))
	}
	ctrl.LoggerFrom(ctx).Info("Removed kube-proxy: every node balances Services without it", "daemonSet", client.ObjectKeyFromObject(d))
	r.Events.Eventf(s.cs, nil, corev1.EventTypeNormal, v1alpha1.ReasonKubeProxyRemoved, "Remove kube-proxy",
		"%s is removed, because all %d nodes balance Services without it; its ConfigMap is kept", what, s.cs.Status.Nodes.Total)
	s.set(kind, true, v1alpha1.ReasonKubeProxyAbsent, "there is no "+what)
	return nil
}

// mark sets the annotation at the Cluster's KubeadmControlPlane by which its controller
// leaves kube-proxy alone, or removes it (nil). Clusters with another control plane, or
// none, have nothing to mark.
func (r *Reconciler) mark(ctx context.Context, s *scope, value *string) error {
	ref := s.cluster.Spec.ControlPlaneRef
	if ref.Kind != "KubeadmControlPlane" || ref.APIGroup != controlPlaneGroup || ref.Name == "" {
		return nil
	}
	mapping, err := r.Client.RESTMapper().RESTMapping(schema.GroupKind{Group: ref.APIGroup, Kind: ref.Kind})
	if meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("finding the kind %s.%s: %w", ref.Kind, ref.APIGroup, err)
	}
	o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: s.cluster.Namespace, Name: ref.Name}}
	o.SetGroupVersionKind(mapping.GroupVersionKind)
	body := fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, skipKubeProxy)
	if value != nil {
		body = fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, skipKubeProxy, *value)
	}
	if err := r.Client.Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(body))); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("annotating %s %s/%s with %s: %w", ref.Kind, o.Namespace, o.Name, skipKubeProxy, err)
	}
	return nil
}
