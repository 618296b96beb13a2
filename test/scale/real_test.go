// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/test/scale/shared"
)

// Names of what is installed.
const (
	systemNamespace = "fairlead-system"
	agents          = "fairlead-agent"
	controller      = "fairlead-controller"
)

// installed is what each cluster has once it is Ready, beside the records of its release.
var installed = map[schema.GroupVersionKind][]string{
	corev1.SchemeGroupVersion.WithKind("Namespace"):             {systemNamespace},
	corev1.SchemeGroupVersion.WithKind("Secret"):                {"fairlead-cluster-ca"},
	corev1.SchemeGroupVersion.WithKind("ConfigMap"):             {"fairlead-trust"},
	corev1.SchemeGroupVersion.WithKind("ServiceAccount"):        {agents, controller},
	appsv1.SchemeGroupVersion.WithKind("DaemonSet"):             {agents},
	appsv1.SchemeGroupVersion.WithKind("Deployment"):            {controller},
	policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"): {controller},
	rbacv1.SchemeGroupVersion.WithKind("Role"):                  {agents, controller},
	rbacv1.SchemeGroupVersion.WithKind("RoleBinding"):           {agents, controller},
	rbacv1.SchemeGroupVersion.WithKind("ClusterRole"):           {controller},
	rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"):    {controller},
}

// realStory is a fleet of clusters that share one real API server.
type realStory struct {
	*fleetStory
	server *fleettest.Server
	fleet  *shared.Fleet
}

// TestRealServer has one NetworkStack give its network to clusters behind a real API server,
// which validates, defaults, merges and watches as all do. What is there in the end is asked
// of that server itself.
func TestRealServer(t *testing.T) {
	s := beginReal(t, clustersOf("FAIRLEAD_SCALE_REAL", 200, 3))
	t.Logf("%d clusters of %d nodes in one real API server", s.n, nodesOf)
	s.install()
	s.complete()
	s.upgrade("upgrade", 1400, nil)
	s.complete()
	s.drift()
	s.complete()
	peak, err := s.op.PeakMiB()
	s.must(err)
	s.row("memory", "RSS peak", "MiB", peak)
	s.end()
}

func beginReal(t *testing.T, n int) *realStory {
	t.Helper()
	s := &realStory{fleetStory: begin(t, "real_", n)}
	var err error
	s.server, err = fleettest.Workload()
	s.must(err)
	t.Cleanup(func() { _ = s.server.Stop() })
	s.fleet, err = shared.Start(t.Context(), s.server.Config, n, nodesOf)
	s.must(err)
	t.Cleanup(func() {
		_ = s.fleet.Stop()
		if err := s.fleet.Fault(); err != nil {
			t.Error(err)
		}
	})
	s.front, s.agentsHave = s.fleet.Front, s.agentsReally
	return s
}

// agentsReally says whether a cluster's agents have an argument, as the real API server has it.
func (s *realStory) agentsReally(i int, arg string) bool {
	d := &appsv1.DaemonSet{}
	s.must(s.server.Client.Get(s.t.Context(), client.ObjectKey{Namespace: systemNamespace + shared.Mark(i), Name: agents}, d))
	return slices.ContainsFunc(d.Spec.Template.Spec.Containers, func(c corev1.Container) bool { return slices.Contains(c.Args, arg) })
}

// complete insists on every cluster having everything, under its own names, and nothing else.
func (s *realStory) complete() {
	s.t.Helper()
	for kind, names := range installed {
		found := s.found(kind, client.MatchingLabels{"app.kubernetes.io/name": "fairlead"})
		for i := range s.n {
			slices.Sort(found[shared.Name(i)])
			if !slices.Equal(found[shared.Name(i)], names) {
				s.t.Errorf("cluster %s has %ss %v, want %v", shared.Name(i), kind.Kind, found[shared.Name(i)], names)
			}
		}
		if len(found) != s.n {
			s.t.Errorf("%ss are of %d clusters, want %d", kind.Kind, len(found), s.n)
		}
	}
	records := s.found(corev1.SchemeGroupVersion.WithKind("Secret"), client.MatchingLabels{"owner": "helm", "status": "deployed"})
	networks := s.found(v1alpha1.GroupVersion.WithKind("NodeNetwork"), client.HasLabels{shared.Label})
	for i := range s.n {
		if n := len(records[shared.Name(i)]); n != 1 {
			s.t.Errorf("cluster %s has %d releases in force, want 1", shared.Name(i), n)
		}
		if n := len(networks[shared.Name(i)]); n != nodesOf {
			s.t.Errorf("cluster %s has %d NodeNetworks, want %d", shared.Name(i), n, nodesOf)
		}
	}
	s.rightsStay()
}

// found are the names of objects by cluster, without the mark of the cluster.
func (s *realStory) found(kind schema.GroupVersionKind, which client.ListOption) map[string][]string {
	s.t.Helper()
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind)
	s.must(s.server.Client.List(s.t.Context(), list, which))
	out := map[string][]string{}
	for i := range list.Items {
		o := &list.Items[i]
		marked, name := o.Name, o.Name
		if o.Namespace != "" {
			marked = o.Namespace
		}
		before, cluster, _ := strings.Cut(marked, "-in-")
		if o.Namespace == "" {
			name = before
		}
		out[cluster] = append(out[cluster], name)
	}
	return out
}

// rightsStay insists on rights being given within each cluster only.
func (s *realStory) rightsStay() {
	s.t.Helper()
	var all rbacv1.ClusterRoleBindingList
	s.must(s.server.Client.List(s.t.Context(), &all, client.HasLabels{shared.Label}))
	for i := range all.Items {
		b := &all.Items[i]
		mark := "-in-" + b.Labels[shared.Label]
		if b.RoleRef.Name != controller+mark || len(b.Subjects) != 1 || b.Subjects[0].Namespace != systemNamespace+mark {
			s.t.Errorf("ClusterRoleBinding %s gives ClusterRole %s to %v", b.Name, b.RoleRef.Name, b.Subjects)
		}
	}
}

// drift deletes an object of some clusters, in the real API server itself.
func (s *realStory) drift() {
	s.quiet()
	ctx := s.t.Context()
	kinds := []schema.GroupVersionKind{
		rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"), appsv1.SchemeGroupVersion.WithKind("DaemonSet"), rbacv1.SchemeGroupVersion.WithKind("RoleBinding"),
	}
	gone := map[types.UID]*metav1.PartialObjectMetadata{}
	start := time.Now()
	for i := range min(spoiled, s.n) {
		o := &metav1.PartialObjectMetadata{}
		o.SetGroupVersionKind(kinds[i%len(kinds)])
		key := client.ObjectKey{Namespace: systemNamespace + shared.Mark(i), Name: installed[kinds[i%len(kinds)]][0]}
		if kinds[i%len(kinds)].Kind == "ClusterRoleBinding" {
			key = client.ObjectKey{Name: key.Name + shared.Mark(i)}
		}
		s.must(s.server.Client.Get(ctx, key, o))
		s.must(s.server.Client.Delete(ctx, o))
		gone[o.UID] = o
	}
	s.eventually("every object is there again", func() bool {
		maps.DeleteFunc(gone, func(was types.UID, o *metav1.PartialObjectMetadata) bool {
			err := s.server.Client.Get(ctx, client.ObjectKeyFromObject(o), o)
			s.must(client.IgnoreNotFound(err))
			return err == nil && o.UID != was
		})
		return len(gone) == 0
	})
	s.row("drift", "repair max", "s", time.Since(start).Seconds())
	s.eventually("every cluster is Ready again", func() bool { return s.ready(1400, nil) == s.n })
}
