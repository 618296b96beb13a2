// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"context"
	"time"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	runtimehooksv1 "sigs.k8s.io/cluster-api/api/runtime/hooks/v1alpha1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/internal/addressing"
)

// How many seconds Cluster API is asked to wait before it asks again.
const (
	// afterWrite is for what was just written into the Cluster, and an API server that did
	// not answer.
	afterWrite = 1
	// whileHeld is for what a person, or a cluster's network, has to change.
	whileHeld = 5
)

// Hooks answers Cluster API's lifecycle hooks. Of a request it trusts only which Cluster it is
// about and to which version that goes: everything else is read. What else is in it is what Cluster
// API has seen.
type Hooks struct {
	Giver   *Giver
	Support *Support
	// Hurry has a cluster connected to at once; nil does nothing.
	Hurry func(cluster client.ObjectKey)
	// Observe is told how long a hook took and how it ended (done, held, failed); nil is nobody.
	Observe func(hook, result string, took time.Duration)
}

// answer ends a hook. What failed is asked again like what is held: Cluster API would wait
// longer after a failure.
func (h *Hooks) answer(ctx context.Context, hook string, began time.Time, resp runtimehooksv1.RetryResponseObject, hold string, seconds int32, err error) {
	resp.SetStatus(runtimehooksv1.ResponseStatusSuccess)
	result := "done"
	switch {
	case err != nil:
		ctrl.LoggerFrom(ctx).Error(err, "A hook could not be answered; Cluster API asks again", "hook", hook)
		resp.SetRetryAfterSeconds(afterWrite)
		resp.SetMessage("Fairlead: " + err.Error())
		result = "failed"
	case seconds > 0:
		resp.SetRetryAfterSeconds(seconds)
		resp.SetMessage(hold)
		result = "held"
	}
	if h.Observe != nil {
		h.Observe(hook, result, time.Since(began))
	}
}

// BeforeClusterCreate reserves the cluster's number and addresses, and holds its creation until
// the Cluster shows them, and while the network that it is to have does not support its version.
func (h *Hooks) BeforeClusterCreate(ctx context.Context, req *runtimehooksv1.BeforeClusterCreateRequest, resp *runtimehooksv1.BeforeClusterCreateResponse) {
	began := time.Now()
	answer, err := h.Giver.Settle(ctx, client.ObjectKeyFromObject(&req.Cluster))
	hold, seconds := answer.Refused, int32(0)
	switch {
	case err != nil:
	case answer.Refused != "":
		seconds = whileHeld
	case !answer.Settled:
		hold, seconds = "Fairlead: the addresses are being written into the Cluster", afterWrite
	case !shows(&req.Cluster, answer.Held):
		hold, seconds = "Fairlead: the Cluster has its addresses, and Cluster API has not seen them yet", afterWrite
	default:
		if hold, err = h.Support.Unmet(ctx, &req.Cluster, req.Cluster.Spec.Topology.Version); hold != "" {
			seconds = whileHeld
		}
	}
	h.answer(ctx, "BeforeClusterCreate", began, resp, hold, seconds, err)
}

// shows says whether the copy of a Cluster that Cluster API works on shows what the Cluster holds.
// Who else settled the Cluster may be ahead of its cache: it would make the templates without
// the addresses, and its next patch of a Cluster that has no annotation in the copy takes away all that there are.
func shows(c *clusterv1.Cluster, held *addressing.Holding) bool {
	return held == nil || !inscribe(c.DeepCopy(), *held)
}

// AfterControlPlaneInitialized has the cluster connected to at once, and its network installed
// by that.
func (h *Hooks) AfterControlPlaneInitialized(_ context.Context, req *runtimehooksv1.AfterControlPlaneInitializedRequest, resp *runtimehooksv1.AfterControlPlaneInitializedResponse) {
	began := time.Now()
	if h.Hurry != nil {
		h.Hurry(client.ObjectKeyFromObject(&req.Cluster))
	}
	resp.SetStatus(runtimehooksv1.ResponseStatusSuccess)
	if h.Observe != nil {
		h.Observe("AfterControlPlaneInitialized", "done", time.Since(began))
	}
}

// BeforeClusterUpgrade holds an upgrade that the cluster's network does not support at every step.
func (h *Hooks) BeforeClusterUpgrade(ctx context.Context, req *runtimehooksv1.BeforeClusterUpgradeRequest, resp *runtimehooksv1.BeforeClusterUpgradeResponse) {
	h.upgrade(ctx, "BeforeClusterUpgrade", &req.Cluster, resp, req.ToKubernetesVersion, req.ControlPlaneUpgrades, req.WorkersUpgrades)
}

// BeforeWorkersUpgrade does so before nodes are replaced: the network may have been moved
// back meanwhile, and the nodes' image brings another kernel.
func (h *Hooks) BeforeWorkersUpgrade(ctx context.Context, req *runtimehooksv1.BeforeWorkersUpgradeRequest, resp *runtimehooksv1.BeforeWorkersUpgradeResponse) {
	h.upgrade(ctx, "BeforeWorkersUpgrade", &req.Cluster, resp, req.ToKubernetesVersion, req.WorkersUpgrades)
}

func (h *Hooks) upgrade(ctx context.Context, hook string, c *clusterv1.Cluster, resp runtimehooksv1.RetryResponseObject, to string, steps ...[]runtimehooksv1.UpgradeStepInfo) {
	began := time.Now()
	versions := []string{to}
	for _, list := range steps {
		for _, s := range list {
			versions = append(versions, s.Version)
		}
	}
	hold, err := h.Support.Unmet(ctx, c, versions...)
	seconds := int32(0)
	if hold != "" {
		seconds = whileHeld
	}
	h.answer(ctx, hook, began, resp, hold, seconds, err)
}

// BeforeClusterDelete makes sure that what the cluster holds is written down: it rests once the
// Cluster is gone, and is the cluster's until then.
func (h *Hooks) BeforeClusterDelete(ctx context.Context, req *runtimehooksv1.BeforeClusterDeleteRequest, resp *runtimehooksv1.BeforeClusterDeleteResponse) {
	began := time.Now()
	_, err := h.Giver.Settle(ctx, client.ObjectKeyFromObject(&req.Cluster))
	h.answer(ctx, "BeforeClusterDelete", began, resp, "", 0, err)
}
