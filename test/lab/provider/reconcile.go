// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"errors"
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// finalizer keeps an object until the lab has nothing of it any more.
const finalizer = "lab.fairlead.io/machines"

// Types of conditions, and reasons, in the words of Cluster API.
const (
	ready     = "Ready"
	available = "Available"

	reasonReady       = "Ready"
	reasonWaiting     = "Waiting"
	reasonFailed      = "Failed"
	reasonNeverBoots  = "NeverBoots"
	reasonNotBuilt    = "VersionNotBuilt"
	reasonNoRanges    = "RangesMissing"
	reasonNotAnswered = "APIServerDoesNotAnswer"
)

// reconcilerOf reads an object, has it worked on, and writes its status once, whatever came of it.
func reconcilerOf[S, T any](c client.Client, work func(context.Context, *object[S, T]) (reconcile.Result, error)) reconcile.Func {
	return func(ctx context.Context, r reconcile.Request) (reconcile.Result, error) {
		o := &object[S, T]{}
		if err := c.Get(ctx, r.NamespacedName, o); err != nil {
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
		before := deepCopy(&o.Status)
		result, err := work(ctx, o)
		if reflect.DeepEqual(before, &o.Status) {
			return result, err
		}
		was := deepCopy(o)
		was.Status = *before
		return result, errors.Join(err, client.IgnoreNotFound(c.Status().Patch(ctx, o, client.MergeFrom(was))))
	}
}

// change patches an object's metadata and spec; a status that is being made is left as it is.
func change[S, T any](ctx context.Context, c client.Client, o *object[S, T], f func()) error {
	status := o.Status
	was := deepCopy(o)
	f()
	if reflect.DeepEqual(was, o) {
		return nil
	}
	err := c.Patch(ctx, o, client.MergeFrom(was))
	o.Status = status
	return err
}

func keep[S, T any](ctx context.Context, c client.Client, o *object[S, T]) error {
	return change(ctx, c, o, func() { controllerutil.AddFinalizer(o, finalizer) })
}

func letGo[S, T any](ctx context.Context, c client.Client, o *object[S, T]) error {
	return client.IgnoreNotFound(change(ctx, c, o, func() { controllerutil.RemoveFinalizer(o, finalizer) }))
}

// set sets a condition; the reason ready, and no other, makes it true.
func set(o client.Object, conditions *[]metav1.Condition, kind, reason, message string) {
	status := metav1.ConditionFalse
	if reason == reasonReady {
		status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: o.GetGeneration(),
	})
}

// owner returns the name of the owner of a kind of Cluster API's core, or "" as long as there is none.
func owner(o client.Object, kind string) string {
	for _, r := range o.GetOwnerReferences() {
		if r.Kind == kind && groupOf(r.APIVersion) == clusterv1.GroupVersion.Group {
			return r.Name
		}
	}
	return ""
}

// clusterOf returns the Cluster of an object by its label.
func clusterOf(ctx context.Context, c client.Client, o client.Object) (*clusterv1.Cluster, error) {
	cluster := &clusterv1.Cluster{}
	return cluster, c.Get(ctx, client.ObjectKey{Namespace: o.GetNamespace(), Name: o.GetLabels()[clusterv1.ClusterNameLabel]}, cluster)
}

// paused says whether the provider is to leave an object alone.
func paused(cluster *clusterv1.Cluster, o client.Object) bool {
	_, annotated := o.GetAnnotations()[clusterv1.PausedAnnotation]
	return annotated || cluster.Spec.Paused != nil && *cluster.Spec.Paused
}
