// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func (s *story) get(name string, o client.Object) {
	s.t.Helper()
	key := client.ObjectKey{Name: name}
	if _, cluster := o.(*rbacv1.ClusterRole); !cluster {
		key.Namespace = namespace
	}
	if err := server.Client.Get(s.t.Context(), key, o); err != nil {
		s.t.Fatal(err)
	}
}

// edit changes an object as somebody with an editor would.
func edit[T client.Object](s *story, name string, o T, change func(T)) {
	s.t.Helper()
	s.get(name, o)
	change(o)
	if err := server.Client.Update(s.t.Context(), o, client.FieldOwner("kubectl-edit")); err != nil {
		s.t.Fatal(err)
	}
}

// drift is what is observed to differ.
func (s *story) drift() []string {
	s.t.Helper()
	var out []string
	for _, d := range s.observe().Drift() {
		out = append(out, d.String())
	}
	return out
}

func TestDrift(t *testing.T) {
	two := int32(2)
	for _, c := range []struct {
		name   string
		change func(*story)
		// drift is what is reported; none means that it is nobody's business.
		drift []string
		// restarts says that the agents' template has to change.
		restarts int64
	}{
		{"an argument of the agents", func(s *story) {
			edit(s, "fairlead-agent", &appsv1.DaemonSet{}, func(d *appsv1.DaemonSet) {
				d.Spec.Template.Spec.Containers[0].Args[4] = "--mtu=9000"
			})
		}, []string{"DaemonSet fairlead-system/fairlead-agent: /spec/template/spec/containers/0/args/4 (changed by kubectl-edit)"}, 2},
		{"a label of ours", func(s *story) {
			edit(s, "fairlead-agent", &appsv1.DaemonSet{}, func(d *appsv1.DaemonSet) { d.Labels["app.kubernetes.io/component"] = "x" })
		}, []string{"DaemonSet fairlead-system/fairlead-agent: /metadata/labels/app.kubernetes.io~1component (changed by kubectl-edit)"}, 0},
		{"the number of controllers", func(s *story) {
			edit(s, "fairlead-controller", &appsv1.Deployment{}, func(d *appsv1.Deployment) { *d.Spec.Replicas = 1 })
		}, []string{"Deployment fairlead-system/fairlead-controller: /spec/replicas (changed by kubectl-edit)"}, 0},
		{"a field of ours taken out", func(s *story) {
			edit(s, "fairlead-controller", &appsv1.Deployment{}, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Affinity = nil })
		}, []string{"Deployment fairlead-system/fairlead-controller: /spec/template/spec/affinity"}, 0},
		{"rights", func(s *story) {
			edit(s, "fairlead-controller", &rbacv1.ClusterRole{}, func(r *rbacv1.ClusterRole) { r.Rules = r.Rules[1:] })
		}, []string{"ClusterRole fairlead-controller: /rules (changed by kubectl-edit)"}, 0},
		{"objects deleted", func(s *story) {
			s.delete(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "fairlead-agent"}})
			s.delete(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "fairlead-controller"}})
		}, []string{"ClusterRole fairlead-controller is not there", "ServiceAccount fairlead-system/fairlead-agent is not there"}, 0},
		{"a binding made anew to another role", func(s *story) {
			b := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "fairlead-agent"}}
			s.delete(b)
			b.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "other"}
			if err := server.Client.Create(s.t.Context(), b, client.FieldOwner("kubectl-edit")); err != nil {
				s.t.Fatal(err)
			}
		}, []string{"RoleBinding fairlead-system/fairlead-agent: /roleRef (changed by kubectl-edit)"}, 0},
		{"an annotation of somebody else's", func(s *story) {
			edit(s, "fairlead-agent", &appsv1.DaemonSet{}, func(d *appsv1.DaemonSet) { d.Annotations["example.org/x"] = "y" })
		}, nil, 0},
		{"a container beside ours", func(s *story) {
			edit(s, "fairlead-agent", &appsv1.DaemonSet{}, func(d *appsv1.DaemonSet) {
				d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "x", Image: "x"})
			})
		}, nil, 1},
		{"status", func(s *story) {
			d := s.agents()
			d.Status.DesiredNumberScheduled, d.Status.ObservedGeneration = two, 1
			if err := server.Client.Status().Update(s.t.Context(), d); err != nil {
				s.t.Fatal(err)
			}
		}, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := begin(t)
			s.expect(Absent, Install)
			s.expect(Current, None)
			generation := s.agents().Generation
			c.change(s)
			if got := s.drift(); !slices.Equal(got, c.drift) {
				t.Fatalf("drift %q, want %q", got, c.drift)
			}
			if c.drift != nil {
				s.wire = &wire{}
				s.expect(Drifted, Repair)
				if got := s.wire.writes.Load(); got > 2*int64(len(c.drift)) {
					t.Errorf("%d writes for %d objects", got, len(c.drift))
				}
			}
			s.expect(Current, None)
			s.wire = &wire{}
			s.expect(Current, None)
			if got := s.wire.count.Load(); got != 1 {
				t.Errorf("%d requests when nothing moved, want 1", got)
			}
			if got := s.agents().Generation - generation; got != c.restarts {
				t.Errorf("the agents were changed %d times, want %d", got, c.restarts)
			}
			if got := s.history(); got != "1:deployed" {
				t.Errorf("the history is %q", got)
			}
			s.agentsHave(0)
		})
	}
}

func TestWhatMayDifferIsLeft(t *testing.T) {
	s := begin(t)
	s.expect(Absent, Install)
	s.ignore = []Ignore{{Kind: "Deployment", Fields: []string{"/spec/replicas", "/spec/template/spec/containers/0/image"}}, {Kind: "PodDisruptionBudget", Name: "fairlead-controller"}}
	edit(s, "fairlead-controller", &appsv1.Deployment{}, func(d *appsv1.Deployment) {
		*d.Spec.Replicas = 1
		d.Spec.Template.Spec.Containers[0].Image = "example.org/x:y"
	})
	pdb := refOf(t, "PodDisruptionBudget")
	o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pdb.Name}}
	o.SetGroupVersionKind(pdb.Kind)
	s.delete(o)
	s.expect(Current, None)

	edit(s, "fairlead-controller", &appsv1.Deployment{}, func(d *appsv1.Deployment) { d.Spec.Template.Spec.PriorityClassName = "" })
	if got := s.drift(); len(got) != 1 || !strings.HasPrefix(got[0], "Deployment fairlead-system/fairlead-controller: /spec/template/spec/priorityClassName") {
		t.Fatalf("drift %q", got)
	}
	s.expect(Drifted, Repair)
	for _, upgraded := range []bool{false, true} {
		d := &appsv1.Deployment{}
		s.get("fairlead-controller", d)
		if *d.Spec.Replicas != 1 || d.Spec.Template.Spec.Containers[0].Image != "example.org/x:y" || d.Spec.Template.Spec.PriorityClassName == "" {
			t.Errorf("after an upgrade (%t) there are %d replicas of %s with priority %q", upgraded, *d.Spec.Replicas, d.Spec.Template.Spec.Containers[0].Image, d.Spec.Template.Spec.PriorityClassName)
		}
		if !upgraded {
			s.set("mtu", 1300)
			s.expect(Outdated, Upgrade)
		}
	}
}

func refOf(t *testing.T, kind string) Ref {
	t.Helper()
	for _, r := range refs(t) {
		if r.Kind.Kind == kind {
			return r
		}
	}
	t.Fatalf("the chart has no %s", kind)
	return Ref{}
}

func TestWhoChangesAnObjectAgainAndAgainIsGivenTime(t *testing.T) {
	s := begin(t)
	s.expect(Absent, Install)
	spoil := func() {
		edit(s, "fairlead-controller", &appsv1.Deployment{}, func(d *appsv1.Deployment) { *d.Spec.Replicas = 1 })
	}
	for range patience {
		spoil()
		s.expect(Drifted, Repair)
		s.now = s.now.Add(time.Second)
	}
	spoil()
	s.expect(Drifted, None)
	if d := s.observe().Drift(); len(d) != 1 || d[0].By != "kubectl-edit" || d[0].Wait <= 0 || d[0].Wait > firstPause {
		t.Errorf("got %+v", d)
	}
	// Others are put right meanwhile.
	s.delete(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "fairlead-controller"}})
	s.expect(Drifted, Repair)
	s.expect(Drifted, None)
	for range 8 {
		s.now = s.now.Add(s.observe().Drift()[0].Wait)
		s.expect(Drifted, Repair)
		spoil()
	}
	if d := s.observe().Drift(); len(d) != 1 || d[0].Wait < lastPause-time.Second {
		t.Errorf("after many corrections, got %+v", d)
	}
	s.now = s.now.Add(lastPause)
	s.expect(Drifted, Repair)
	s.now = s.now.Add(patienceFor + lastPause + time.Second)
	spoil()
	s.expect(Drifted, Repair)
}

func TestWhatNoInformerFollowsIsLookedAtNowAndThen(t *testing.T) {
	s := begin(t)
	s.expect(Absent, Install)
	name := client.ObjectKey{Name: "fairlead-controller"}
	s.delete(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name.Name}})
	observe := func() State {
		target := s.target()
		look := target.Look
		target.Look = func(ctx context.Context, r Ref) (string, bool, error) {
			if r.Kind.Kind == "ClusterRole" {
				return "", false, nil
			}
			return look(ctx, r)
		}
		if _, err := target.Observe(t.Context()); err != nil {
			t.Fatal(err)
		}
		return target.State()
	}
	if got := observe(); got != Current {
		t.Errorf("it is %s at once", got)
	}
	s.now = s.now.Add(unwatchedEvery)
	if got := observe(); got != Drifted {
		t.Errorf("it is %s later", got)
	}
	if err := server.Client.Get(t.Context(), name, &rbacv1.ClusterRole{}); !apierrors.IsNotFound(err) {
		t.Errorf("a look has changed something: %v", err)
	}
}
