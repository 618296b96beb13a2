// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types that every kind on the management cluster shares. Ready is a
// summary of the others. Reconciling and Stalled follow kstatus: they are there
// only while they are True, so that GitOps tools read "in progress" and "failed"
// from them without knowing Fairlead.
const (
	// ConditionReady is True when what the object asks for is in force everywhere.
	ConditionReady = "Ready"
	// ConditionReconciling is True while Fairlead still works towards the spec.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when only a person can make progress possible. Its
	// message says how.
	ConditionStalled = "Stalled"
)

// Condition types of NetworkStack.
const (
	// ConditionAccepted is False when the spec, or a part of it, cannot be acted on.
	ConditionAccepted = "Accepted"
)

// Condition types of ClusterStack.
const (
	// ConditionConnected is True while the cluster's API server answers with the
	// kubeconfig that Cluster API keeps for it.
	ConditionConnected = "Connected"
	// ConditionTrusted is True when the cluster holds its intermediate CA and the
	// root bundle.
	ConditionTrusted = "Trusted"
	// ConditionReleased is True when the wanted release is deployed in the cluster.
	ConditionReleased = "Released"
	// ConditionRolledOut is True when every node's agent runs the wanted version
	// and has acknowledged its state.
	ConditionRolledOut = "RolledOut"
	// ConditionProven is True when the configuration has passed its gates: it is rolled
	// out, and packets have shown for the time of the soak that it works. False with one of
	// the reasons of a breach when a gate does not hold.
	ConditionProven = "Proven"
	// ConditionDrifted is True, and else not there, while objects of the release differ from
	// it, because somebody else changed or deleted them.
	ConditionDrifted = "Drifted"
	// ConditionKubeProxyRemoved is True when the cluster has no kube-proxy. It is there
	// only while Fairlead balances the cluster's Services.
	ConditionKubeProxyRemoved = "KubeProxyRemoved"
	// ConditionServiceMapsNearlyFull is True, and else not there, while nodes have little
	// room left for Services: what finds none is refused. NodeNetworks have it, too.
	ConditionServiceMapsNearlyFull = "ServiceMapsNearlyFull"
	// ConditionUninstalled shows how far the removal of a deleted ClusterStack is.
	ConditionUninstalled = "Uninstalled"
)

// Condition types of NodeNetwork, beside Ready.
const (
	// ConditionSynced is True when the agent has acknowledged everything it should hold.
	ConditionSynced = "Synced"
	// ConditionServicesReady is True when the agent balances Services: it has had all of
	// them in force since it subscribed. It is there only while the cluster's agents
	// balance Services.
	ConditionServicesReady = "ServicesReady"
)

// Reasons that several condition types use.
const (
	// ReasonProgressing says that work goes on by itself.
	ReasonProgressing = "Progressing"
	// ReasonPaused says that spec.paused holds all changes back.
	ReasonPaused = "Paused"
	// ReasonWaiting says that the matter waits for another condition of this object.
	ReasonWaiting = "Waiting"
	// ReasonError says that an attempt failed and is repeated with growing delays.
	ReasonError = "Error"
	// ReasonDeleting says that the object is being deleted.
	ReasonDeleting = "Deleting"
)

// ReasonLittleRoom is the reason of ServiceMapsNearlyFull: the message names the maps, and the
// fields of the configuration that make room in them.
const ReasonLittleRoom = "LittleRoom"

// Reasons of NetworkStack.
const (
	// ReasonAccepted says that the whole spec can be acted on.
	ReasonAccepted = "Accepted"
	// ReasonInvalidSelector says that spec.clusterSelector, or that of an override, is no
	// valid label selector.
	ReasonInvalidSelector = "InvalidSelector"
	// ReasonVersionNotSupported says that this operator has no chart of spec.version.
	ReasonVersionNotSupported = "VersionNotSupported"
	// ReasonDowngrade says that clusters run a higher version than spec.version.
	ReasonDowngrade = "DowngradeRefused"
	// ReasonInvalidRollout says that a field of spec.rollout cannot be acted on.
	ReasonInvalidRollout = "InvalidRollout"
	// ReasonUndone is the reason of a breach by a person: the rollout was undone.
	ReasonUndone = "Undone"
	// ReasonRolloutStopped says that a gate was breached, or a person undid the change.
	ReasonRolloutStopped = "RolloutStopped"
	// ReasonClusterHeld says that another NetworkStack holds a selected cluster.
	ReasonClusterHeld = "ClusterHeldByAnotherStack"
	// ReasonSelectsNothing says that a changed spec.clusterSelector would take the network
	// from every cluster, which is not done.
	ReasonSelectsNothing = "SelectorMatchesNothing"
	// ReasonNoCluster says that no Cluster is selected.
	ReasonNoCluster = "NoClusterSelected"
	// ReasonClustersNotReady says that some ClusterStack is not Ready.
	ReasonClustersNotReady = "ClustersNotReady"
	// ReasonClustersReady says that every ClusterStack is Ready.
	ReasonClustersReady = "ClustersReady"
	// ReasonUninstalling says that clusters are still being cleaned.
	ReasonUninstalling = "Uninstalling"
)

// Reasons of ClusterStack's Connected.
const (
	// ReasonConnected says that the API server answers.
	ReasonConnected = "Connected"
	// ReasonConnecting says that the first attempt is still under way.
	ReasonConnecting = "Connecting"
	// ReasonClusterNotFound says that there is no such Cluster.
	ReasonClusterNotFound = "ClusterNotFound"
	// ReasonInfrastructureNotProvisioned says that the Cluster has no infrastructure yet.
	ReasonInfrastructureNotProvisioned = "InfrastructureNotProvisioned"
	// ReasonKubeconfigMissing says that the kubeconfig Secret or its key is not there.
	ReasonKubeconfigMissing = "KubeconfigMissing"
	// ReasonKubeconfigMalformed says that the kubeconfig cannot be used.
	ReasonKubeconfigMalformed = "KubeconfigMalformed"
	// ReasonWrongCluster says that the kubeconfig leads to the cluster of another Cluster.
	ReasonWrongCluster = "WrongCluster"
	// ReasonKubeconfigRefused says that the API server refuses the kubeconfig's credentials.
	ReasonKubeconfigRefused = "KubeconfigRefused"
	// ReasonUnreachable says that the API server does not answer.
	ReasonUnreachable = "Unreachable"
)

// Reasons of ClusterStack's Trusted.
const (
	// ReasonTrustApplied says that the CA and the bundle are in the cluster.
	ReasonTrustApplied = "TrustApplied"
	// ReasonTrustRevoked says that a person has revoked the cluster: nobody in the fleet
	// accepts the CAs that it was given.
	ReasonTrustRevoked = "TrustRevoked"
)

// Reasons of ClusterStack's Released.
const (
	// ReasonReleaseDeployed says that the wanted release is deployed.
	ReasonReleaseDeployed = "ReleaseDeployed"
	// ReasonReleaseOutdated says that a new revision is wanted but held back.
	ReasonReleaseOutdated = "ReleaseOutdated"
	// ReasonReleaseFailed says that Helm failed; it is tried again.
	ReasonReleaseFailed = "ReleaseFailed"
	// ReasonReleaseRefused says that the chart refuses the values.
	ReasonReleaseRefused = "ReleaseRefused"
	// ReasonPodCIDRsMissing says that the Cluster names no pod address range.
	ReasonPodCIDRsMissing = "PodCIDRsMissing"
	// ReasonPodCIDRsInvalid says that a pod address range of the Cluster cannot be used.
	ReasonPodCIDRsInvalid = "PodCIDRsInvalid"
	// ReasonEndpointMissing says that the API server's address is not known.
	ReasonEndpointMissing = "ControlPlaneEndpointMissing"
)

// Reasons of ClusterStack's RolledOut and Ready.
const (
	// ReasonAllNodesAcknowledged says that every node is up to date and in sync.
	ReasonAllNodesAcknowledged = "AllNodesAcknowledged"
	// ReasonControllerNotAvailable says that no replica of the controller is available.
	ReasonControllerNotAvailable = "ControllerNotAvailable"
	// ReasonNodesNotReady says that nodes are missing, outdated or not in sync.
	ReasonNodesNotReady = "NodesNotReady"
	// ReasonNoNodes says that the cluster has no node.
	ReasonNoNodes = "NoNodes"
)

// Reasons of ClusterStack's Proven. Those of a breach stop the rollout; see IsBreach.
const (
	// ReasonProven says that the gates have held.
	ReasonProven = "GatesHeld"
	// ReasonPreflight says that probes are started before anything is changed.
	ReasonPreflight = "Preflight"
	// ReasonUpdating says that agents are being replaced, under watch.
	ReasonUpdating = "Updating"
	// ReasonSoaking says that every agent is replaced, and packets are watched for a while.
	ReasonSoaking = "Soaking"
	// ReasonNotAdmitted says that the cluster's wave has not begun.
	ReasonNotAdmitted = "NotAdmitted"
	// ReasonProbeBreached says that a probe is beyond its budget.
	ReasonProbeBreached = "ProbeBreached"
	// ReasonProbesNotRunning says that probes do not start, or say nothing, on some node.
	ReasonProbesNotRunning = "ProbesNotRunning"
	// ReasonAgentFailing says that the new agent ends again and again on some node.
	ReasonAgentFailing = "AgentFailing"
	// ReasonDeadlineExceeded says that spec.rollout.deadline went by.
	ReasonDeadlineExceeded = "DeadlineExceeded"
	// ReasonUpgradeRefused says that the chart refuses its values, or the API server its objects.
	ReasonUpgradeRefused = "UpgradeRefused"
)

// IsBreach says whether a reason of Proven is that of a gate that does not hold.
func IsBreach(reason string) bool {
	switch reason {
	case ReasonProbeBreached, ReasonProbesNotRunning, ReasonAgentFailing, ReasonDeadlineExceeded, ReasonUpgradeRefused:
		return true
	}
	return false
}

// ReasonDrifted is the reason of Drifted: the message names the objects and fields.
const ReasonDrifted = "ObjectsDiffer"

// Reasons of ClusterStack's KubeProxyRemoved.
const (
	// ReasonKubeProxyAbsent says that there is no DaemonSet kube-system/kube-proxy.
	ReasonKubeProxyAbsent = "KubeProxyAbsent"
	// ReasonServicesNotReady says that some node does not balance Services yet, and that
	// kube-proxy is kept until all do.
	ReasonServicesNotReady = "ServicesNotReady"
	// ReasonKubeProxyForeign says that DaemonSet kube-system/kube-proxy is not the one that
	// kubeadm makes, and that a person has to remove it.
	ReasonKubeProxyForeign = "KubeProxyForeign"
	// ReasonKubeProxyMissing says that Services shall be handed back to kube-proxy, which
	// does not run; agents go on balancing them.
	ReasonKubeProxyMissing = "KubeProxyMissing"
)

// Reasons of ClusterStack's Uninstalled.
const (
	// ReasonCleaningNodes says that agents are removing all of ours from their nodes.
	ReasonCleaningNodes = "CleaningNodes"
	// ReasonRemovingObjects says that the last objects and the namespace are being removed.
	ReasonRemovingObjects = "RemovingObjects"
)

// Reasons of events at a NetworkStack, beside ReasonRolloutStopped. They say what has
// become of a rollout.
const (
	ReasonRolloutStarted  = "RolloutStarted"
	ReasonRolloutPaused   = "RolloutPaused"
	ReasonRolloutWaiting  = "RolloutWaiting"
	ReasonRollingBack     = "RollingBack"
	ReasonRolloutComplete = "RolloutComplete"
	ReasonWaveStarted     = "WaveStarted"
	ReasonWavePassed      = "WavePassed"
	ReasonWaveFailed      = "WaveFailed"
)

// Reasons of events at a ClusterStack. They say what a changed configuration does to
// the cluster.
const (
	// ReasonRoutingChanged says that spec.cni.routing.mode has another value.
	ReasonRoutingChanged = "RoutingChanged"
	// ReasonKubeProxyRemoved says that DaemonSet kube-system/kube-proxy was removed.
	ReasonKubeProxyRemoved = "KubeProxyRemoved"
	// ReasonServicesChanged says that spec.cni.kubeProxyReplacement has another value.
	ReasonServicesChanged = "ServicesChanged"
	// ReasonConfigurationChanged says that another field has another value.
	ReasonConfigurationChanged = "ConfigurationChanged"
)
