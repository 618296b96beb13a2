// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Annotations of a NetworkStack by which a person steers a rollout; fairleadctl writes them.
// Each names the revision that was looked at (status.rollout.revision), so that none speaks
// of a change that came later.
const (
	// ApprovedAnnotation lets waves begin that need approval: REVISION/WAVE, several
	// separated by commas.
	ApprovedAnnotation = "fairlead.io/approved"
	// UndoAnnotation, REVISION/ATTEMPT (status.rollout.attempt), brings every cluster back
	// to what was proven before it.
	UndoAnnotation = "fairlead.io/undo"
	// RetryAnnotation, REVISION/ATTEMPT, has a rollout that was stopped or undone begin anew.
	RetryAnnotation = "fairlead.io/retry"
)

// RolloutSpec says how a change reaches the clusters. The zero value of each field is its
// default.
type RolloutSpec struct {
	// paused lets no further cluster begin; those that have begun go on. spec.paused
	// holds back every change instead.
	// +optional
	Paused bool `json:"paused,omitempty"`

	// waves, in their order: the next begins when the one before has passed. A Cluster
	// belongs to the first wave that selects it; those that no wave selects form a last
	// one, named "rest". At most 32.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="!self.exists(w, w.name == 'rest')",message="a wave of spec.rollout.waves is named rest, which is the name of the last wave, of the Clusters that no other selects: choose another name"
	Waves []WaveSpec `json:"waves,omitempty"`

	// maxConcurrent is how many clusters of a wave may be on their way at a time, as a
	// number or as a share of the wave. Default "25%"; a share is rounded up.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? int(self) >= 0 : string(self).matches('^(100|[1-9]?[0-9])%$')",message="must be a number of at least 0, or a share from 0% to 100% such as 25%: correct it"
	MaxConcurrent *intstr.IntOrString `json:"maxConcurrent,omitempty"`

	// maxAway is how many clusters of a wave may be away (their API servers do not
	// answer) without holding up the next wave. Default "10%"; a share is rounded down.
	// Clusters that come back follow by themselves.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? int(self) >= 0 : string(self).matches('^(100|[1-9]?[0-9])%$')",message="must be a number of at least 0, or a share from 0% to 100% such as 25%: correct it"
	MaxAway *intstr.IntOrString `json:"maxAway,omitempty"`

	// soak is how long a cluster is watched after its last agent was replaced, before
	// it counts as proven. Default 30s.
	// +optional
	Soak *metav1.Duration `json:"soak,omitempty"`

	// deadline bounds the time from a cluster's begin until its agents are replaced;
	// one that takes longer fails its wave. Default 15m.
	// +optional
	Deadline *metav1.Duration `json:"deadline,omitempty"`

	// windows are the times at which clusters may begin. None: always. At most 32.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Windows []ChangeWindow `json:"windows,omitempty"`

	// gates say what packets must show before a cluster counts as proven.
	// +optional
	Gates GatesSpec `json:"gates,omitempty,omitzero"`

	// autoRollback brings the clusters of a wave that failed back to what was proven
	// before. Default true. With false the rollout stops and leaves them as they are.
	// +optional
	AutoRollback *bool `json:"autoRollback,omitempty"`

	// allowDowngrade permits a spec.version that is lower than the one that clusters run.
	// +optional
	AllowDowngrade bool `json:"allowDowngrade,omitempty"`

	// agents says how the agents of a cluster are replaced.
	// +optional
	Agents AgentUpdateSpec `json:"agents,omitempty,omitzero"`
}

// WaveSpec is one wave of a rollout.
type WaveSpec struct {
	// name of the wave, unique in its NetworkStack.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`

	// clusterSelector selects the wave's Clusters among those of the NetworkStack.
	// +required
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",message="clusterSelector of a wave is empty: name the labels of the Clusters in matchLabels or matchExpressions; what no wave selects forms the last one"
	ClusterSelector metav1.LabelSelector `json:"clusterSelector"`

	// canaries is how many of the wave's clusters go first: the others begin when these
	// are proven. Default 0; a share is rounded up.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? int(self) >= 0 : string(self).matches('^(100|[1-9]?[0-9])%$')",message="must be a number of at least 0, or a share from 0% to 100% such as 25%: correct it"
	Canaries *intstr.IntOrString `json:"canaries,omitempty"`

	// maxConcurrent replaces spec.rollout.maxConcurrent for this wave.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? int(self) >= 0 : string(self).matches('^(100|[1-9]?[0-9])%$')",message="must be a number of at least 0, or a share from 0% to 100% such as 25%: correct it"
	MaxConcurrent *intstr.IntOrString `json:"maxConcurrent,omitempty"`

	// maxAway replaces spec.rollout.maxAway for this wave.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? int(self) >= 0 : string(self).matches('^(100|[1-9]?[0-9])%$')",message="must be a number of at least 0, or a share from 0% to 100% such as 25%: correct it"
	MaxAway *intstr.IntOrString `json:"maxAway,omitempty"`

	// soak replaces spec.rollout.soak for this wave.
	// +optional
	Soak *metav1.Duration `json:"soak,omitempty"`

	// approval says whether a person must let this wave begin (`fairleadctl rollout
	// approve`): Required, or NotRequired, the default.
	// +optional
	Approval Approval `json:"approval,omitempty"`
}

// Approval says whether a person must let a wave begin.
//
// +kubebuilder:validation:XValidation:rule="self in ['Required', 'NotRequired']",message="approval must be Required or NotRequired: set it to one of them, or leave it out for NotRequired"
type Approval string

// The approvals.
const (
	ApprovalRequired    Approval = "Required"
	ApprovalNotRequired Approval = "NotRequired"
)

// ChangeWindow is a time at which clusters may begin: every week on the same days, between
// two dates, or both.
//
// +kubebuilder:validation:XValidation:rule="!has(self.notBefore) || !has(self.notAfter) || timestamp(self.notBefore) < timestamp(self.notAfter)",message="notAfter of a window is not later than its notBefore: correct one of them"
type ChangeWindow struct {
	// days of the week on which the window opens, in its time zone. None: every day.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=7
	Days []Weekday `json:"days,omitempty"`

	// start is the time of day at which the window opens, such as "22:00". Default "00:00".
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')",message="start of a window must be a time of day such as 22:00: correct it"
	// +kubebuilder:validation:MaxLength=5
	Start string `json:"start,omitempty"`

	// duration is how long the window is open, at most 24h, which is the default. It
	// may reach into the next day.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s') && duration(self) <= duration('24h')",message="duration of a window must be more than 0 and at most 24h: correct it"
	Duration *metav1.Duration `json:"duration,omitempty"`

	// timeZone is the IANA name of the zone of days and start, such as Europe/Berlin.
	// Default UTC.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	TimeZone string `json:"timeZone,omitempty"`

	// notBefore and notAfter bound the dates at which the window counts.
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
}

// Weekday is the English name of a day, in three letters.
//
// +kubebuilder:validation:Enum=Mon;Tue;Wed;Thu;Fri;Sat;Sun
type Weekday string

// GatesSpec says what must hold before a cluster counts as proven: its release is deployed,
// every agent runs the version and has acknowledged its state, and packets arrive as before.
type GatesSpec struct {
	// probes: Enabled, the default, sends packets between the nodes of a cluster while
	// it changes; Disabled looks at workloads and acknowledgements only.
	// +optional
	Probes ProbesMode `json:"probes,omitempty"`

	// budgets replace the default budget of single probes.
	// +optional
	// +listType=map
	// +listMapKey=probe
	// +kubebuilder:validation:MaxItems=16
	Budgets []ProbeBudget `json:"budgets,omitempty"`
}

// ProbesMode says whether packets are sent.
//
// +kubebuilder:validation:XValidation:rule="self in ['Enabled', 'Disabled']",message="gates.probes must be Enabled or Disabled: set it to one of them, or leave it out for Enabled"
type ProbesMode string

// The modes.
const (
	ProbesEnabled  ProbesMode = "Enabled"
	ProbesDisabled ProbesMode = "Disabled"
)

// ProbeBudget is how much worse than before a probe may become on any node.
type ProbeBudget struct {
	// probe is the name of the probe: peers (packets to pods of other nodes), dns (names
	// of the cluster), service (connections through a Service) or policy (packets that a
	// NetworkPolicy forbids; one that passes counts as a failed attempt).
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Probe string `json:"probe"`

	// loss is the share of attempts that may fail beyond the share that failed before,
	// such as "0.5%", the default.
	// +optional
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="self.matches('^(100|[0-9]{1,2}([.][0-9]{1,3})?)%$')",message="loss must be a share such as 0.5%: correct it"
	Loss string `json:"loss,omitempty"`

	// latency is what the 99th percentile may grow by, beyond a doubling. Default 20ms.
	// +optional
	Latency *metav1.Duration `json:"latency,omitempty"`
}

// AgentUpdateSpec says how the agents of a cluster are replaced. Pods keep their network
// meanwhile. It is in force at once in every cluster, and restarts no agent.
//
// +kubebuilder:validation:XValidation:rule="!has(self.maxUnavailable) || (type(self.maxUnavailable) == int ? int(self.maxUnavailable) > 0 : string(self.maxUnavailable) != '0%') || (has(self.maxSurge) && (type(self.maxSurge) == int ? int(self.maxSurge) > 0 : string(self.maxSurge) != '0%'))",message="maxUnavailable is 0, and so is maxSurge: no agent would ever be replaced: set one of them to at least 1 or 1%"
// +kubebuilder:validation:XValidation:rule="!has(self.maxUnavailable) || (type(self.maxUnavailable) == int ? int(self.maxUnavailable) == 0 : string(self.maxUnavailable) == '0%') || !has(self.maxSurge) || (type(self.maxSurge) == int ? int(self.maxSurge) == 0 : string(self.maxSurge) == '0%')",message="maxUnavailable and maxSurge are both more than 0, and Kubernetes takes one of them only: set maxUnavailable to 0 to start new agents beside the old ones, or maxSurge to 0 to end the old ones first"
type AgentUpdateSpec struct {
	// maxUnavailable is how many nodes may be without an agent at a time, as a number or
	// a share of the nodes. Default "10%", and at least one; with maxSurge it is 0.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? int(self) >= 0 : string(self).matches('^(100|[1-9]?[0-9])%$')",message="must be a number of at least 0, or a share from 0% to 100% such as 25%: correct it"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// maxSurge is how many nodes may start the new agent beside the old one, as a number or a
	// share of the nodes. The new one tries what can fail, changes nothing, and stands by; the
	// old one ends when the new one has been ready for minReadySeconds. Default 0, which ends
	// the old one first. When it is not 0 maxUnavailable must be 0 or left out.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? int(self) >= 0 : string(self).matches('^(100|[1-9]?[0-9])%$')",message="must be a number of at least 0, or a share from 0% to 100% such as 25%: correct it"
	MaxSurge *intstr.IntOrString `json:"maxSurge,omitempty"`

	// minReadySeconds is how long a new agent must be ready, while packets are watched,
	// before the next node follows. Default 10. With maxSurge it is how long it must stand by
	// before the old one ends, and the next node's begins to do so when that one ends: between
	// two nodes there is as much time.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	MinReadySeconds *int32 `json:"minReadySeconds,omitempty"`
}

// DriftPolicy says what becomes of objects of ours that somebody else changed or deleted.
//
// +kubebuilder:validation:XValidation:rule="self in ['Correct', 'Report']",message="spec.driftPolicy must be Correct or Report: set it to one of them, or leave it out for Correct"
type DriftPolicy string

// The policies.
const (
	// DriftCorrect puts them right.
	DriftCorrect DriftPolicy = "Correct"
	// DriftReport names them in the condition Drifted and leaves them.
	DriftReport DriftPolicy = "Report"
)

// DriftIgnore names what may differ from the release.
type DriftIgnore struct {
	// kind of the objects, such as DaemonSet.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`

	// name of the object. None: every object of the kind.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// fields that may differ, as JSON pointers (RFC 6901) such as /spec/replicas. None:
	// the whole object.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	Fields []JSONPointer `json:"fields,omitempty"`
}

// JSONPointer names a field of an object.
//
// +kubebuilder:validation:MaxLength=512
// +kubebuilder:validation:XValidation:rule="self.startsWith('/')",message="a field of spec.driftIgnore must be a JSON pointer such as /spec/replicas: begin it with /"
type JSONPointer string

// RolloutPhase is how far a rollout is.
type RolloutPhase string

// The phases.
const (
	// RolloutComplete says that every wave has passed.
	RolloutComplete RolloutPhase = "Complete"
	// RolloutProgressing says that clusters are on their way.
	RolloutProgressing RolloutPhase = "Progressing"
	// RolloutPaused says that no further cluster begins, because spec.rollout.paused or
	// spec.paused says so.
	RolloutPaused RolloutPhase = "Paused"
	// RolloutWaiting says that the next clusters wait for a person's approval, for a
	// window, or for clusters that are away.
	RolloutWaiting RolloutPhase = "Waiting"
	// RolloutRollingBack says that a gate was breached, or a person undid the rollout,
	// and that clusters are being brought back.
	RolloutRollingBack RolloutPhase = "RollingBack"
	// RolloutStopped says that a gate was breached, or a person undid the rollout, and
	// that nothing moves until the spec changes or somebody retries.
	RolloutStopped RolloutPhase = "Stopped"
)

// WavePhase is how far a wave is.
type WavePhase string

// The phases.
const (
	WavePending    WavePhase = "Pending"
	WaveInProgress WavePhase = "InProgress"
	WavePassed     WavePhase = "Passed"
	WaveFailed     WavePhase = "Failed"
)

// RolloutStatus is how far the newest change has come.
type RolloutStatus struct {
	// revision identifies the configuration that is rolled out, whatever clusters there are.
	// +optional
	Revision string `json:"revision,omitempty"`

	// attempt counts the times that the revision was begun, from 1.
	// +optional
	Attempt int32 `json:"attempt,omitempty"`

	// phase: Complete, Progressing, Paused, Waiting, RollingBack or Stopped.
	// +optional
	Phase RolloutPhase `json:"phase,omitempty"`

	// message says to a person what goes on and what it waits for.
	// +optional
	Message string `json:"message,omitempty"`

	// startedAt is when the revision was first seen, finishedAt when it was complete or
	// stopped.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`

	// waves in their order, each with at least one cluster.
	// +listType=map
	// +listMapKey=name
	// +optional
	Waves []WaveStatus `json:"waves,omitempty"`

	// breach is why the rollout was stopped.
	// +optional
	Breach *Breach `json:"breach,omitempty"`
}

// WaveStatus counts the clusters of a wave.
type WaveStatus struct {
	// name of the wave.
	Name string `json:"name"`
	// phase: Pending, InProgress, Passed or Failed.
	Phase WavePhase `json:"phase"`
	// clusters is how many there are. Each is counted in one of the fields below.
	Clusters int32 `json:"clusters"`
	// proven have the configuration, and packets have shown that it works.
	// +optional
	Proven int32 `json:"proven"`
	// updating have begun and are not proven yet.
	// +optional
	Updating int32 `json:"updating"`
	// waiting have not begun.
	// +optional
	Waiting int32 `json:"waiting"`
	// away do not answer.
	// +optional
	Away int32 `json:"away"`
	// held are pinned, or have a Kubernetes or a kernel that the version does not support;
	// `fairleadctl plan` says which.
	// +optional
	Held int32 `json:"held"`
	// failed have breached a gate and were not brought back.
	// +optional
	Failed int32 `json:"failed"`
	// passedAt is when the wave passed.
	// +optional
	PassedAt *metav1.Time `json:"passedAt,omitempty"`
}

// Breach is a gate that did not hold.
type Breach struct {
	// cluster whose gate did not hold; empty when a person undid the rollout.
	// +optional
	Cluster string `json:"cluster,omitempty"`
	// wave of the cluster.
	// +optional
	Wave string `json:"wave,omitempty"`
	// node on which it did not hold; empty when it is about the cluster.
	// +optional
	Node string `json:"node,omitempty"`
	// probe that failed; empty when it is about workloads.
	// +optional
	Probe string `json:"probe,omitempty"`
	// reason is that of the cluster's condition Proven.
	Reason string `json:"reason"`
	// message says what was measured and what is allowed.
	Message string `json:"message"`
	// time at which it was found.
	// +optional
	Time metav1.Time `json:"time,omitempty"`
}

// ProvenStatus is the last configuration of a cluster that passed its gates: what a
// rollback goes back to.
type ProvenStatus struct {
	// version of Fairlead.
	Version string `json:"version"`
	// planDigest of the configuration.
	PlanDigest string `json:"planDigest"`
	// cni is the configuration itself.
	// +optional
	CNI CNISpec `json:"cni,omitempty,omitzero"`
	// time at which it was proven.
	// +optional
	Time metav1.Time `json:"time,omitempty"`
}

// Measurement is what a probe measured on a cluster's nodes together, or on one of them.
type Measurement struct {
	// probe by name.
	Probe string `json:"probe"`
	// sent is the number of attempts, lost how many of them failed.
	Sent int64 `json:"sent"`
	Lost int64 `json:"lost"`
	// p99Microseconds is the 99th percentile of the time that an attempt took; of the
	// node where it was highest when the measurement is of several.
	// +optional
	P99Microseconds int64 `json:"p99Microseconds,omitempty"`
}

// UpdateStatus is how far a cluster is with its configuration.
type UpdateStatus struct {
	// planDigest that this is about.
	// +optional
	PlanDigest string `json:"planDigest,omitempty"`
	// phase: Preflight (probes are started and the image is pulled, nothing has changed),
	// Updating, Proving or Proven.
	// +optional
	Phase UpdatePhase `json:"phase,omitempty"`
	// startedAt is when work on it began, updatedAt when the last agent was replaced.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// +optional
	UpdatedAt *metav1.Time `json:"updatedAt,omitempty"`
	// watchedSince is when probes of the wanted version were first found to run on every node.
	// +optional
	WatchedSince *metav1.Time `json:"watchedSince,omitempty"`
	// baseline is what probes measured before anything was changed.
	// +listType=map
	// +listMapKey=probe
	// +optional
	Baseline []Measurement `json:"baseline,omitempty"`
	// measured is what probes measured last.
	// +listType=map
	// +listMapKey=probe
	// +optional
	Measured []Measurement `json:"measured,omitempty"`
	// breach says where a probe is beyond its budget.
	// +optional
	Breach *ProbeBreach `json:"breach,omitempty"`
}

// ProbeBreach is where a probe is beyond its budget.
type ProbeBreach struct {
	// node on which it is.
	// +optional
	Node string `json:"node,omitempty"`
	// probe by name.
	// +optional
	Probe string `json:"probe,omitempty"`
}

// UpdatePhase is how far a cluster is.
type UpdatePhase string

// The phases.
const (
	UpdatePreflight UpdatePhase = "Preflight"
	UpdateUpdating  UpdatePhase = "Updating"
	UpdateProving   UpdatePhase = "Proving"
	UpdateProven    UpdatePhase = "Proven"
)
