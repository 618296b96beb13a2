// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	runtimev1 "sigs.k8s.io/cluster-api/api/runtime/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/capi"
	"github.com/fairlead-io/fairlead/test/capi/run"
)

// TestInMemoryClusters has Cluster API make clusters by the dozen that name no addresses. The
// operator is killed in the middle. Then some of them are deleted, and others come.
func TestInMemoryClusters(t *testing.T) {
	s := &memoryStory{hub: begin(t), seen: map[string]*times{}}
	s.rows = &rows{t: t, n: howMany("FAIRLEAD_BIRTH_CLUSTERS", 50, 6)}
	s.prepare()
	s.births()
	s.kubeadm()
	s.memory()
	s.deaths()
	s.write()
}

// memoryStory is the story of clusters whose machines are in memory.
type memoryStory struct {
	*hub
	*rows
	operator *operator
	managers *run.Managers
	// seen says when what was first seen of which cluster.
	seen map[string]*times
}

// times of a cluster's life.
type times struct{ created, given, initialized time.Time }

// prepare starts everything; there is no cluster yet.
func (s *memoryStory) prepare() {
	t := s.hub.t
	s.must(s.client.Create(t.Context(), pool()))
	// Nothing of it is installed: the API servers in memory are not enough for that.
	s.must(s.client.Create(t.Context(), &v1alpha1.NetworkStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "fleet"},
		Spec: v1alpha1.NetworkStackSpec{
			AllClusters: true, Paused: true,
			CNI: v1alpha1.CNISpec{KubeProxyReplacement: v1alpha1.KubeProxyReplacementEnabled},
		},
	}))
	s.managers = s.clusterAPI(capi.Providers()...)
	s.operator = s.hub.operator("operator")
	s.operator.start()
	s.announce(s.operator)
	s.eventually("Cluster API knows the operator's hooks", func() string {
		e := &runtimev1.ExtensionConfig{}
		s.must(s.client.Get(t.Context(), client.ObjectKey{Name: "fairlead"}, e))
		if meta.IsStatusConditionTrue(e.Status.Conditions, runtimev1.ExtensionConfigDiscoveredCondition) {
			return ""
		}
		return fmt.Sprint(e.Status.Conditions)
	})
	s.hub.create("in-memory.yaml")
}

// bear creates Clusters with a topology that name no addresses.
func (s *memoryStory) bear(from, to int) {
	s.hub.t.Helper()
	one := int32(1)
	for i := from; i < to; i++ {
		c := &clusterv1.Cluster{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("c%04d", i)},
			Spec: clusterv1.ClusterSpec{Topology: clusterv1.Topology{
				ClassRef: clusterv1.ClusterClassRef{Name: "in-memory"}, Version: "v1.35.0",
				ControlPlane: clusterv1.ControlPlaneTopology{Replicas: &one},
			}},
		}
		s.must(s.client.Create(s.hub.t.Context(), c))
		s.seen[c.Name] = &times{created: time.Now()}
	}
}

// look notes what is new, and counts the clusters that have addresses and those whose control
// plane answers.
func (s *memoryStory) look() (given, initialized int) {
	s.hub.t.Helper()
	for _, c := range s.clusters() {
		seen, b := s.seen[c.Name], bornOf(&c)
		if seen.given.IsZero() && b.id != "" {
			seen.given = time.Now()
		}
		if !seen.given.IsZero() && b.id == "" {
			s.hub.t.Fatalf("cluster %s had a number, and somebody took it out of the Cluster; its ranges are %v", b.name, b.ranges())
		}
		if p := c.Status.Initialization.ControlPlaneInitialized; seen.initialized.IsZero() && p != nil && *p && c.Status.Phase == string(clusterv1.ClusterPhaseProvisioned) {
			seen.initialized = time.Now()
		}
		if !seen.given.IsZero() {
			given++
		}
		if !seen.initialized.IsZero() {
			initialized++
		}
	}
	return given, initialized
}

// until waits until so many clusters have addresses.
func (s *memoryStory) until(given int) {
	s.hub.t.Helper()
	s.eventually(fmt.Sprintf("%d clusters have addresses", given), func() string {
		if n, _ := s.look(); n < given {
			return fmt.Sprint(n, " have")
		}
		return ""
	})
}

// births has half of the clusters come, kills the operator while they are given their addresses,
// has the others come, and starts it when Cluster API says that nobody answers.
func (s *memoryStory) births() {
	t, half := s.hub.t, s.n/2
	start := time.Now()
	s.bear(0, half)
	s.until(half / 3)
	s.operator.kill()
	s.bear(half, s.n)
	last := fmt.Sprintf("c%04d", s.n-1)
	s.eventually("Cluster API says that nobody answers", func() string {
		s.look()
		c := &clusterv1.Cluster{}
		s.must(s.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: last}, c))
		if said := meta.FindStatusCondition(c.Status.Conditions, clusterv1.ClusterTopologyReconciledCondition); said != nil && strings.Contains(said.Message, "BeforeClusterCreate") {
			return ""
		}
		return fmt.Sprint(c.Status.Conditions)
	})
	if b := s.hub.born(last); b.id != "" {
		t.Errorf("cluster %s got number %s from nobody", last, b.id)
	}
	back := time.Now()
	s.operator.start()
	s.until(s.n)
	s.add("outage", "all have addresses after", "s", time.Since(back).Seconds())
	s.eventually("every control plane answers", func() string {
		if _, n := s.look(); n < s.n {
			return fmt.Sprintf("%d of %d do", n, s.n)
		}
		return ""
	})
	s.add("births", "wall", "s", time.Since(start).Seconds())
	var given, initialized []time.Duration
	for _, seen := range s.seen {
		if seen.given.Before(back) {
			given = append(given, seen.given.Sub(seen.created))
		}
		initialized = append(initialized, seen.initialized.Sub(seen.created))
	}
	s.rows.times("given", given)
	s.rows.times("initialized", initialized)
	s.disjoint()
}

// kubeadm insists that what the first machine of each cluster is told has the cluster's addresses,
// and no kube-proxy.
func (s *memoryStory) kubeadm() {
	t := s.hub.t
	var planes controlplanev1.KubeadmControlPlaneList
	s.must(s.client.List(t.Context(), &planes, client.InNamespace(namespace)))
	for _, p := range planes.Items {
		if !slices.Contains(p.Spec.KubeadmConfigSpec.InitConfiguration.SkipPhases, "addon/kube-proxy") {
			t.Errorf("KubeadmControlPlane %s does not skip kube-proxy: %v", p.Name, p.Spec.KubeadmConfigSpec.InitConfiguration.SkipPhases)
		}
	}
	var configs bootstrapv1.KubeadmConfigList
	s.must(s.client.List(t.Context(), &configs, client.InNamespace(namespace)))
	if len(configs.Items) != s.n || len(planes.Items) != s.n {
		t.Errorf("there are %d KubeadmControlPlanes and %d KubeadmConfigs, want %d", len(planes.Items), len(configs.Items), s.n)
	}
	for _, c := range configs.Items {
		b := s.hub.born(c.Labels[clusterv1.ClusterNameLabel])
		secret := &corev1.Secret{}
		s.must(s.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: c.Status.DataSecretName}, secret))
		// It has the cluster's keys: it is never shown.
		for _, want := range []string{"podSubnet: " + strings.Join(b.pods, ","), "serviceSubnet: " + strings.Join(b.services, ","), "- addon/kube-proxy"} {
			if !bytes.Contains(secret.Data["value"], []byte(want)) {
				t.Errorf("the first machine of cluster %s is not told %q", b.name, want)
			}
		}
	}
}

// born is what one Cluster says that it was given.
func (h *hub) born(name string) born {
	h.t.Helper()
	c := &clusterv1.Cluster{}
	h.must(h.client.Get(h.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, c))
	return bornOf(c)
}

// memory records what all programs have in use.
func (s *memoryStory) memory() {
	s.hub.t.Helper()
	mib, err := s.operator.ResidentMiB()
	s.must(err)
	s.add("memory", "operator RSS", "MiB", mib)
	mib, err = s.operator.PeakMiB()
	s.must(err)
	s.add("memory", "operator RSS peak", "MiB", mib)
	for _, m := range s.managers.All {
		mib, err := m.ResidentMiB()
		s.must(err)
		s.add("memory", m.Name+" RSS", "MiB", mib)
	}
}

// deaths deletes some clusters and has others come: what the dead had rests, and is given again
// when the FleetPool says that it has rested.
func (s *memoryStory) deaths() {
	t, dead := s.hub.t, max(2, s.n/10)
	had := map[string]string{} // range or number -> cluster
	for i := range dead {
		b := s.hub.born(fmt.Sprintf("c%04d", i))
		for _, x := range append(b.ranges(), b.id) {
			had[x] = b.name
		}
		s.must(s.client.Delete(t.Context(), &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: b.name}}))
	}
	s.eventually("they are gone, and what they had rests", func() string {
		resting := 0
		for _, h := range s.holdings() {
			if h.Freed != nil {
				resting++
			}
		}
		if there := len(s.clusters()); there > s.n-dead || resting < dead {
			return fmt.Sprintf("%d of %d Clusters are there, what %d had rests", there, s.n, resting)
		}
		return ""
	})
	s.bear(s.n, s.n+dead)
	s.until(s.n)
	for name, b := range s.disjoint() {
		for _, x := range append(b.ranges(), b.id) {
			if owner := had[x]; owner != "" {
				t.Errorf("cluster %s was given %s, which rests after %s", name, x, owner)
			}
		}
	}

	p := &v1alpha1.FleetPool{}
	s.must(s.client.Get(t.Context(), client.ObjectKeyFromObject(pool()), p))
	old := p.DeepCopy()
	p.Spec.Quarantine = &metav1.Duration{}
	s.must(s.client.Patch(t.Context(), p, client.MergeFrom(old)))
	s.bear(s.n+dead, s.n+dead+1)
	s.until(s.n + 1)
	if b := s.disjoint()[fmt.Sprintf("c%04d", s.n+dead)]; had[b.id] == "" {
		t.Errorf("what has rested is not given again: cluster %s got number %s", b.name, b.id)
	}
}
