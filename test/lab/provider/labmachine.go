// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"fmt"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/test/lab/plan"
)

// labMachines boots and removes nodes. A node is called as its Machine.
type labMachines struct {
	client.Client
	host Host
}

func (r *labMachines) reconcile(ctx context.Context, o *labMachine) (reconcile.Result, error) {
	name := owner(o, "Machine")
	if !o.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, r.remove(ctx, o, name)
	}
	if name == "" {
		set(o, &o.Status.Conditions, ready, reasonWaiting, "no Machine owns it yet")
		return reconcile.Result{}, nil
	}
	machine := &clusterv1.Machine{}
	if err := r.Get(ctx, client.ObjectKey{Namespace: o.Namespace, Name: name}, machine); err != nil {
		return reconcile.Result{}, err
	}
	cluster, err := clusterOf(ctx, r, o)
	if err != nil || paused(cluster, o) {
		return reconcile.Result{}, err
	}
	if reason, message := r.refuse(cluster, machine, o); reason != "" {
		set(o, &o.Status.Conditions, ready, reason, message)
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, r.boot(ctx, cluster.Name, machine, o)
}

// refuse says why a machine does not boot now; whatever changes that is an event.
func (r *labMachines) refuse(cluster *clusterv1.Cluster, machine *clusterv1.Machine, o *labMachine) (reason, message string) {
	switch {
	case o.Spec.NeverBoots:
		return reasonNeverBoots, "spec.neverBoots is true"
	case !infrastructureIsProvisioned(cluster):
		return reasonWaiting, "the cluster has no network yet"
	case machine.Spec.Bootstrap.DataSecretName == nil:
		return reasonWaiting, "there is no bootstrap data yet"
	case !r.host.Has(machine.Spec.Version):
		return reasonNotBuilt, notBuilt("Machine "+machine.Name, machine.Spec.Version)
	}
	return "", ""
}

func (r *labMachines) boot(ctx context.Context, cluster string, machine *clusterv1.Machine, o *labMachine) error {
	if err := keep(ctx, r, o); err != nil {
		return err
	}
	m, err := r.host.StartNode(ctx, cluster, machine.Name, machine.Spec.Version)
	if err != nil {
		set(o, &o.Status.Conditions, ready, reasonFailed, err.Error())
		return err
	}
	if err := change(ctx, r, o, func() { o.Spec.ProviderID = m.ProviderID() }); err != nil {
		return err
	}
	o.Status.Initialization.Provisioned = true
	o.Status.Addresses = addresses(m)
	set(o, &o.Status.Conditions, ready, reasonReady, "")
	return nil
}

// remove comes after Cluster API has drained the node.
func (r *labMachines) remove(ctx context.Context, o *labMachine, node string) error {
	if cluster := o.Labels[clusterv1.ClusterNameLabel]; cluster != "" && node != "" {
		if err := r.host.RemoveNode(cluster, node); err != nil {
			set(o, &o.Status.Conditions, ready, reasonFailed, err.Error())
			return err
		}
	}
	return letGo(ctx, r, o)
}

func addresses(m plan.Machine) []clusterv1.MachineAddress {
	return []clusterv1.MachineAddress{
		{Type: clusterv1.MachineHostName, Address: m.Name},
		{Type: clusterv1.MachineInternalIP, Address: m.IPv4.String()},
		{Type: clusterv1.MachineInternalIP, Address: m.IPv6.String()},
	}
}

// notBuilt tells a user how to get a version.
func notBuilt(object, version string) string {
	return fmt.Sprintf("%s: spec.version %q: the lab has no binaries of it: name it in LAB_KUBERNETES_ALSO, and run `lab down` and `lab up`", object, version)
}
