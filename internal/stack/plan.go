// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// Cluster is what Plan must know of a Cluster.
type Cluster struct {
	Name   string
	Labels map[string]string
	// Deleting is true once the Cluster is being deleted. It gets nothing new then,
	// and keeps what it has while its machines go away.
	Deleting bool
	// Override is what the people who own the cluster lay over its configuration.
	Override v1alpha1.CNIOverride
	// Environment is what is known of the cluster's nodes.
	Environment v1alpha1.Environment
}

// Versions are those that the operator can install.
type Versions struct {
	// Own is the operator's own version, which a stack without spec.version gets.
	Own string
	// Available are all of them.
	Available []string
	// Requires is what they need of clusters, by version.
	Requires map[string]Requirements
}

// List are all of them, the operator's own among them.
func (v Versions) List() []string {
	if v.Own == "" || slices.Contains(v.Available, v.Own) {
		return v.Available
	}
	return append([]string{v.Own}, v.Available...)
}

func (v Versions) has(version string) bool {
	return version == v.Own || slices.Contains(v.Available, version)
}

// ClusterPlan is the resolved configuration of one cluster.
type ClusterPlan struct {
	Cluster string
	Spec    v1alpha1.ClusterStackSpec
	// Deleting says that the Cluster is being deleted: an existing ClusterStack
	// stays as it is and none is created.
	Deleting bool
	// Unsupported says why the cluster cannot have the version, "" when it can. It keeps
	// what it has.
	Unsupported string
}

// Conflict is a selected Cluster that another NetworkStack holds.
type Conflict struct {
	Cluster string
	// Holder is the name of the NetworkStack that holds the Cluster.
	Holder string
}

// Plan is what one NetworkStack wants of its clusters, sorted by cluster.
type Plan struct {
	// Version is the version that the clusters shall run.
	Version string
	// Selected counts the Clusters that the selector matches.
	Selected  int
	Clusters  []ClusterPlan
	Conflicts []Conflict
	// Digest identifies the resolved configuration of all clusters of the plan.
	Digest string
	// Revision identifies the configuration that the stack asks for, whatever clusters
	// there are.
	Revision string

	waves   []wave
	windows []window
}

// InvalidSelectorError says that spec.clusterSelector, or that of the override of this
// name, is no valid label selector.
type InvalidSelectorError struct {
	Stack    string
	Override string
	Err      error
}

func (e *InvalidSelectorError) Error() string {
	field := "spec.clusterSelector"
	if e.Override != "" {
		field = fmt.Sprintf("clusterSelector of spec.overrides[name=%s]", e.Override)
	}
	return fmt.Sprintf("%s of NetworkStack %q is not a valid label selector (%v): correct it", field, e.Stack, e.Err)
}

func (e *InvalidSelectorError) Unwrap() error { return e.Err }

// VersionError says that the operator has no chart of the wanted version.
type VersionError struct {
	Stack, Wanted string
	Versions      Versions
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("spec.version of NetworkStack %q is %s, and this operator has charts of %s only: set spec.version to one of them, leave it out for %s, or give the operator a chart of %s (--chart-dir)",
		e.Stack, e.Wanted, strings.Join(e.Versions.List(), ", "), e.Versions.Own, e.Wanted)
}

// Make plans one NetworkStack. all are the NetworkStacks of its namespace (itself
// may be among them), clusters the Clusters of its namespace, versions those that the
// operator can install. A Cluster that several stacks select belongs to the
// oldest of them, then to the first by name; stacks that are being deleted or whose
// selector is invalid hold nothing. The error is an *InvalidSelectorError, a *VersionError
// or a *RolloutError.
func Make(s *v1alpha1.NetworkStack, all []v1alpha1.NetworkStack, clusters []Cluster, versions Versions) (*Plan, error) {
	selector, err := Selector(s)
	if err != nil {
		return nil, err
	}
	version := cmp.Or(s.Spec.Version, versions.Own)
	if !versions.has(version) {
		return nil, &VersionError{Stack: s.Name, Wanted: version, Versions: versions}
	}
	overrides, err := readOverrides(s)
	if err != nil {
		return nil, err
	}
	waves, err := readWaves(s)
	if err != nil {
		return nil, err
	}
	windows, err := readWindows(s)
	if err != nil {
		return nil, err
	}
	older := olderThan(s, all)
	plan := &Plan{Version: version, Revision: revision(s, version), waves: waves, windows: windows}
	for _, c := range clusters {
		if !selector.Matches(labels.Set(c.Labels)) {
			continue
		}
		plan.Selected++
		if holder := holderAmong(older, c); holder != "" {
			plan.Conflicts = append(plan.Conflicts, Conflict{Cluster: c.Name, Holder: holder})
			continue
		}
		plan.Clusters = append(plan.Clusters, ClusterPlan{
			Cluster:  c.Name,
			Spec:     resolve(s, overrides, waveOf(waves, c), c, version),
			Deleting: c.Deleting,

			Unsupported: versions.Requires[version].unmet(version, c.Environment),
		})
	}
	slices.SortFunc(plan.Clusters, func(a, b ClusterPlan) int { return cmp.Compare(a.Cluster, b.Cluster) })
	slices.SortFunc(plan.Conflicts, func(a, b Conflict) int { return cmp.Compare(a.Cluster, b.Cluster) })
	digests := make([]string, 0, 2*len(plan.Clusters))
	for _, c := range plan.Clusters {
		digests = append(digests, c.Cluster, c.Spec.PlanDigest)
	}
	plan.Digest = Digest(digests)
	return plan, nil
}

// For returns what a Cluster gets by the NetworkStack that selects it, nil when none does or it
// cannot be acted on.
func For(c Cluster, all []v1alpha1.NetworkStack, versions Versions) *v1alpha1.ClusterStackSpec {
	holder := holderAmong(byAge(all), c)
	i := slices.IndexFunc(all, func(s v1alpha1.NetworkStack) bool { return s.Name == holder })
	if i < 0 {
		return nil
	}
	plan, err := Make(&all[i], all, []Cluster{c}, versions)
	if err != nil || len(plan.Clusters) == 0 {
		return nil
	}
	return &plan.Clusters[0].Spec
}

// Heir returns the name of the NetworkStack other than leaving that takes the
// Cluster over as it is, "" when there is none and the Cluster is to be cleaned. A
// stack that cannot be acted on (its version is none of the operator's, or the selector
// of an override is invalid) can take nothing over.
func Heir(leaving string, all []v1alpha1.NetworkStack, c Cluster, versions Versions) string {
	var able []v1alpha1.NetworkStack
	for _, s := range byAge(all) {
		_, err := readOverrides(&s)
		if s.Name != leaving && (s.Spec.Version == "" || versions.has(s.Spec.Version)) && err == nil {
			able = append(able, s)
		}
	}
	if c.Deleting {
		return ""
	}
	return holderAmong(able, c)
}

// Selector returns the selector of a stack's Clusters.
func Selector(s *v1alpha1.NetworkStack) (labels.Selector, error) {
	if s.Spec.AllClusters {
		return labels.Everything(), nil
	}
	sel := s.Spec.ClusterSelector
	if len(sel.MatchLabels) == 0 && len(sel.MatchExpressions) == 0 {
		return labels.Nothing(), nil
	}
	out, err := metav1.LabelSelectorAsSelector(&sel)
	if err != nil {
		return nil, &InvalidSelectorError{Stack: s.Name, Err: err}
	}
	return out, nil
}

// olderThan returns the stacks that come before s, first come first.
func olderThan(s *v1alpha1.NetworkStack, all []v1alpha1.NetworkStack) []v1alpha1.NetworkStack {
	sorted := byAge(all)
	i := slices.IndexFunc(sorted, func(o v1alpha1.NetworkStack) bool { return o.Name == s.Name })
	if i < 0 {
		i = len(sorted)
	}
	return sorted[:i]
}

func byAge(all []v1alpha1.NetworkStack) []v1alpha1.NetworkStack {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b v1alpha1.NetworkStack) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return sorted
}

func holderAmong(sorted []v1alpha1.NetworkStack, c Cluster) string {
	for i := range sorted {
		o := &sorted[i]
		if !o.DeletionTimestamp.IsZero() {
			continue
		}
		if sel, err := Selector(o); err == nil && sel.Matches(labels.Set(c.Labels)) {
			return o.Name
		}
	}
	return ""
}

// resolve lays the overrides of one cluster over the stack's configuration, fills every
// default in and digests the result.
func resolve(s *v1alpha1.NetworkStack, overrides []override, w *wave, c Cluster, version string) v1alpha1.ClusterStackSpec {
	cni := *s.Spec.CNI.DeepCopy()
	for _, o := range overrides {
		if o.selector.Matches(labels.Set(c.Labels)) {
			o.cni.apply(&cni)
		}
	}
	partialCNI(c.Override).apply(&cni)
	fillDefaults(&cni)
	spec := v1alpha1.ClusterStackSpec{
		NetworkStack: s.Name,
		ClusterName:  c.Name,
		Version:      version,
		CNI:          cni,
		PlanDigest:   PlanDigest(version, cni),
	}
	setTerms(&spec, s, w)
	return spec
}

// setTerms sets what is in force for a cluster at once, whatever configuration it has: how
// it is to be changed and watched.
func setTerms(spec *v1alpha1.ClusterStackSpec, s *v1alpha1.NetworkStack, w *wave) {
	r := s.Spec.Rollout.DeepCopy()
	spec.Paused = s.Spec.Paused
	spec.Wave = w.Name
	spec.Soak = metav1.Duration{Duration: w.soak(r)}
	spec.Deadline = metav1.Duration{Duration: defaultDeadline}
	if r.Deadline != nil && r.Deadline.Duration > 0 {
		spec.Deadline = *r.Deadline
	}
	spec.Gates = r.Gates
	if spec.Gates.Probes == "" {
		spec.Gates.Probes = v1alpha1.ProbesEnabled
	}
	spec.Agents = r.Agents
	spec.DriftPolicy = cmp.Or(s.Spec.DriftPolicy, v1alpha1.DriftCorrect)
	spec.DriftIgnore = s.DeepCopy().Spec.DriftIgnore
}

// PlanDigest identifies the configuration of a cluster.
func PlanDigest(version string, cni v1alpha1.CNISpec) string {
	return Digest(struct {
		Version string           `json:"version"`
		CNI     v1alpha1.CNISpec `json:"cni"`
	}{version, cni})
}

// revision identifies what a stack asks for.
func revision(s *v1alpha1.NetworkStack, version string) string {
	cni := *s.Spec.CNI.DeepCopy()
	fillDefaults(&cni)
	return Digest([]any{version, cni, s.Spec.Overrides})
}

// fillDefaults fills in what zero values stand for. The API server does it as well; a
// plan must not depend on that, or its digest would change with the CRD's version.
func fillDefaults(cni *v1alpha1.CNISpec) {
	if cni.Routing.Mode == "" {
		cni.Routing.Mode = v1alpha1.RoutingTunnel
	}
	if cni.Tunnel.Port == 0 {
		cni.Tunnel.Port = v1alpha1.DefaultTunnelPort
	}
	if cni.Masquerade == nil {
		yes := true
		cni.Masquerade = &yes
	}
	if cni.FlowTable.Entries == 0 {
		cni.FlowTable.Entries = v1alpha1.DefaultFlowEntries
	}
	if cni.KubeProxyReplacement == "" {
		cni.KubeProxyReplacement = v1alpha1.KubeProxyReplacementDisabled
	}
	fillServiceDefaults(&cni.Services)
}

func fillServiceDefaults(s *v1alpha1.ServicesSpec) {
	if s.Forwarding == "" {
		s.Forwarding = v1alpha1.ForwardingSNAT
	}
	if s.Frontends == 0 {
		s.Frontends = v1alpha1.DefaultServiceFrontends
	}
	if s.Backends == 0 {
		s.Backends = v1alpha1.DefaultServiceBackends
	}
}

// Digest returns a short, stable name of a value: the first 16 bytes of the
// SHA-256 of its JSON, in hexadecimal. The value must be one that encoding/json
// always encodes.
func Digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("a value that JSON cannot carry was digested: %v", err))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
