// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// skipKubeProxy is the annotation by which a control plane comes without kube-proxy, as kubeadm's does.
const skipKubeProxy = "controlplane.cluster.x-k8s.io/skip-kube-proxy"

// How often an API server is asked: while it starts, and later.
const (
	startPoll  = 300 * time.Millisecond
	healthPoll = 15 * time.Second
)

// labControlPlanes boots control planes, gives them their first objects and upgrades them in place.
type labControlPlanes struct {
	client.Client
	host  Host
	nodes *nodeWatches
}

func (r *labControlPlanes) reconcile(ctx context.Context, o *labControlPlane) (reconcile.Result, error) {
	name := owner(o, "Cluster")
	if !o.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, r.remove(ctx, o, name)
	}
	if name == "" {
		r.say(o, reasonWaiting, "no Cluster owns it yet")
		return reconcile.Result{}, nil
	}
	cluster := &clusterv1.Cluster{}
	if err := r.Get(ctx, client.ObjectKey{Namespace: o.Namespace, Name: name}, cluster); err != nil || paused(cluster, o) {
		return reconcile.Result{}, err
	}
	start, reason, message := r.wanted(cluster, o)
	if reason != "" { // One that runs goes on as it is.
		set(o, &o.Status.Conditions, ready, reason, message)
		if !o.Status.Initialization.ControlPlaneInitialized {
			set(o, &o.Status.Conditions, available, reason, message)
		}
		return reconcile.Result{}, nil
	}
	if err := keep(ctx, r, o); err != nil {
		return reconcile.Result{}, err
	}
	api, err := r.host.StartControlPlane(name, start)
	if err == nil {
		err = r.kubeconfig(ctx, o, name, api.Inside)
	}
	if err != nil {
		r.say(o, reasonFailed, err.Error())
		return reconcile.Result{}, err
	}
	return r.follow(ctx, o, api, start.Version)
}

// wanted is what the control plane starts with, or why it does not; whatever changes that is an event.
func (r *labControlPlanes) wanted(cluster *clusterv1.Cluster, o *labControlPlane) (start ControlPlane, reason, message string) {
	pods, services, err := rangesOf(cluster)
	switch {
	case !infrastructureIsProvisioned(cluster):
		return start, reasonWaiting, "the cluster has no network yet"
	case !r.host.Has(o.Spec.Version):
		return start, reasonNotBuilt, notBuilt("LabControlPlane "+o.Name, o.Spec.Version)
	case err != nil:
		return start, reasonNoRanges, err.Error()
	}
	return ControlPlane{Version: o.Spec.Version, Pods: pods, Services: services}, "", ""
}

// follow reports on an API server that was started, and furnishes it when it is new.
func (r *labControlPlanes) follow(ctx context.Context, o *labControlPlane, api API, version string) (reconcile.Result, error) {
	o.Status.ExternalManagedControlPlane = true
	workload, runs, err := connect(ctx, api.Here)
	if err != nil || runs != version {
		message := "the API server runs " + runs
		if err != nil { // Not which error: it is another one each time, and a new status each time is a new event.
			message = "the API server is not ready: see its logs with `lab logs " + api.Cluster.ControlPlane.Name + "`"
		}
		r.count(o, 0, runs == version)
		r.say(o, reasonNotAnswered, message)
		return reconcile.Result{RequeueAfter: startPoll}, nil
	}
	if !o.Status.Initialization.ControlPlaneInitialized {
		_, without := o.Annotations[skipKubeProxy]
		if err := furnish(ctx, workload, api.Cluster, !without); err != nil {
			r.say(o, reasonFailed, err.Error())
			return reconcile.Result{}, err
		}
		o.Status.Initialization.ControlPlaneInitialized = true
	}
	o.Status.Version = runs
	r.count(o, 1, true)
	r.say(o, reasonReady, "")
	return reconcile.Result{RequeueAfter: healthPoll}, errors.Join(
		r.nodes.ensure(client.ObjectKeyFromObject(o), api.Here), r.host.RouteToPods(ctx, api.Cluster.Name, workload))
}

// count reports the one machine that a control plane has.
func (r *labControlPlanes) count(o *labControlPlane, answering int32, upToDate bool) {
	one, current := int32(1), int32(0)
	if upToDate {
		current = 1
	}
	o.Status.Replicas, o.Status.UpToDateReplicas = &one, &current
	o.Status.ReadyReplicas, o.Status.AvailableReplicas = &answering, &answering
}

func (r *labControlPlanes) say(o *labControlPlane, reason, message string) {
	set(o, &o.Status.Conditions, ready, reason, message)
	set(o, &o.Status.Conditions, available, reason, message)
}

// kubeconfig writes the Secret that every cluster has by Cluster API's contract.
func (r *labControlPlanes) kubeconfig(ctx context.Context, o *labControlPlane, cluster string, content []byte) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: cluster + "-kubeconfig"}}
	_, err := controllerutil.CreateOrUpdate(ctx, r, secret, func() error {
		secret.Labels = map[string]string{clusterv1.ClusterNameLabel: cluster}
		secret.Type = clusterv1.ClusterSecretType
		secret.Data = map[string][]byte{"value": content}
		return controllerutil.SetControllerReference(o, secret, r.Scheme())
	})
	return err
}

func (r *labControlPlanes) remove(ctx context.Context, o *labControlPlane, cluster string) error {
	r.nodes.end(client.ObjectKeyFromObject(o))
	if cluster != "" {
		if err := r.host.RemoveControlPlane(cluster); err != nil {
			r.say(o, reasonFailed, err.Error())
			return err
		}
	}
	return letGo(ctx, r, o)
}
