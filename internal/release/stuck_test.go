// SPDX-License-Identifier: Apache-2.0

package release

import (
	"errors"
	"strings"
	"testing"

	helmrelease "helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/internal/helm"
)

// newestSecret is the Secret of the newest revision.
func (s *story) newestSecret() *corev1.Secret {
	s.t.Helper()
	t := s.observe()
	o := &corev1.Secret{}
	if err := server.Client.Get(s.t.Context(), client.ObjectKey{Namespace: namespace, Name: helm.SecretName(releaseName, t.Release().Revision)}, o); err != nil {
		s.t.Fatal(err)
	}
	return o
}

func TestEveryStuckReleaseHeals(t *testing.T) {
	for _, c := range []struct {
		name    string
		stick   func(*story)
		actions []Action
		history string
		// restarts is by how much the agents' generation may grow.
		restarts int64
	}{
		{"an upgrade that was cut off at the end", func(s *story) { s.mark(helmrelease.StatusPendingUpgrade) }, []Action{Heal}, "1:superseded 2:deployed", 0},
		{"a rollback that was cut off", func(s *story) { s.mark(helmrelease.StatusPendingRollback) }, []Action{Heal}, "1:superseded 2:deployed", 0},
		{"an installation by somebody else's Helm, cut off", func(s *story) { s.mark(helmrelease.StatusPendingInstall) }, []Action{Heal}, "1:superseded 2:deployed", 0},
		{"a failure", func(s *story) { s.mark(helmrelease.StatusFailed) }, []Action{Heal}, "1:superseded 2:deployed", 0},
		{"a status that is not known", func(s *story) { s.mark("strange") }, []Action{Heal}, "1:superseded 2:deployed", 0},
		{"nothing deployed", func(s *story) { s.mark(helmrelease.StatusSuperseded) }, []Action{Heal}, "1:superseded 2:deployed", 0},
		{"a removal that was cut off", func(s *story) {
			s.mark(helmrelease.StatusUninstalling)
			s.delete(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "fairlead-controller"}})
		}, []Action{Heal}, "1:superseded 2:deployed", 0},
		{"an upgrade to something else, cut off", func(s *story) {
			s.mark(helmrelease.StatusPendingUpgrade)
			s.set("mtu", 1400)
		}, []Action{Upgrade}, "1:superseded 2:failed 3:deployed", 1},
		{"a record that cannot be read", func(s *story) {
			o := s.newestSecret()
			o.Data["release"] = []byte("bm90IGEgcmVsZWFzZQ==")
			s.update(o)
		}, []Action{Upgrade}, "1:superseded 3:deployed", 0},
		{"a record that is cut short", func(s *story) {
			o := s.newestSecret()
			o.Data["release"] = o.Data["release"][:100]
			s.update(o)
		}, []Action{Upgrade}, "1:superseded 3:deployed", 0},
		{"no record at all, and all objects there", func(s *story) {
			if err := server.Client.DeleteAllOf(s.t.Context(), &corev1.Secret{}, client.InNamespace(namespace)); err != nil {
				s.t.Fatal(err)
			}
		}, []Action{Install}, "1:deployed", 0},
		{"the newest record gone, an older one left", func(s *story) {
			s.delete(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: helm.SecretName(releaseName, 2)}})
		}, []Action{Upgrade}, "1:superseded 2:deployed", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := begin(t)
			s.expect(Absent, Install)
			s.set("mtu", 1300)
			s.expect(Outdated, Upgrade)
			generation := s.agents().Generation
			c.stick(s)
			s.restart(0)
			if got := s.settle(); len(got) != len(c.actions) || got[0] != c.actions[0] {
				t.Errorf("it took %v, want %v", got, c.actions)
			}
			if got := s.history(); got != c.history {
				t.Errorf("the history is %q, want %q", got, c.history)
			}
			if got := s.agents().Generation - generation; got != c.restarts {
				t.Errorf("the agents were changed %d times, want %d", got, c.restarts)
			}
		})
	}
}

func (s *story) delete(o client.Object) {
	s.t.Helper()
	if err := server.Client.Delete(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) update(o client.Object) {
	s.t.Helper()
	if err := server.Client.Update(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
}

// TestKilledAtAnyStep kills an operator after each number of requests that an installation,
// and an upgrade, take. The next one ends it, and the agents change once.
func TestKilledAtAnyStep(t *testing.T) {
	for _, c := range []struct {
		name    string
		before  func(*story)
		history string
	}{
		{"installation", func(*story) {}, "1:deployed"},
		{"upgrade", func(s *story) { s.expect(Absent, Install); s.set("mtu", 1300) }, "1:superseded 2:deployed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for n := int64(1); ; n++ {
				s := begin(t)
				c.before(s)
				var generation int64
				if s.history() != "" {
					generation = s.agents().Generation
				}
				s.restart(n)
				_, _, err := s.step()
				if err == nil {
					if n < 10 {
						t.Fatalf("it took %d requests only: nothing was killed", n)
					}
					t.Logf("killed after each of %d requests", n-1)
					return
				}
				if !errors.Is(err, errKilled) {
					t.Fatal(err)
				}
				s.restart(0)
				actions := s.settle()
				if len(actions) > 1 {
					t.Errorf("killed after %d requests, it took %v", n, actions)
				}
				if got := s.history(); got != c.history {
					t.Errorf("killed after %d requests, the history is %q, want %q", n, got, c.history)
				}
				if got := s.agents().Generation - generation; got != 1 {
					t.Errorf("killed after %d requests, the agents were changed %d times", n, got)
				}
			}
		})
	}
}

func TestRequestsOfARelease(t *testing.T) {
	s := begin(t)
	// Another cluster of the version was met before.
	s.expect(Absent, Install)
	wipe(t)
	s.wire, s.memory = &wire{}, &Memory{}
	s.host = server.Config.Host + "/"
	s.expect(Absent, Install)
	installed := s.wire.count.Load()
	s.wire = &wire{}
	s.expect(Current, None)
	idle := s.wire.count.Load()
	s.wire = &wire{}
	s.set("mtu", 1300)
	s.expect(Outdated, Upgrade)
	upgraded := s.wire.count.Load()
	t.Logf("installation %d requests, nothing to do %d, upgrade %d", installed, idle, upgraded)
	if installed > 20 || idle > 2 || upgraded > 20 {
		t.Errorf("installation %d requests, nothing to do %d, upgrade %d; want at most 20, 2, 20", installed, idle, upgraded)
	}
}

func TestAnUpgradeThatFailsLeavesWhatIsThere(t *testing.T) {
	s := begin(t)
	s.expect(Absent, Install)
	s.values["controller"] = map[string]any{"resources": map[string]any{"requests": map[string]any{"cpu": "no quantity"}}}
	s.values["mtu"] = int64(1300)
	if _, due, err := s.step(); err == nil || due != Upgrade || !strings.Contains(err.Error(), "Deployment fairlead-system/fairlead-controller") {
		t.Fatalf("%s ended with %v", due, err)
	}
	if got := s.history(); got != "1:deployed 2:failed" {
		t.Errorf("the history is %q", got)
	}
	s.agentsHave(1300)
	s.set("mtu", 1400)
	s.expect(Failed, Upgrade)
	s.expect(Current, None)
	s.agentsHave(1400)
	if got := s.history(); got != "1:superseded 2:failed 3:deployed" {
		t.Errorf("the history is %q", got)
	}
}

func TestAValueThatTheSchemaDoesNotKnowIsRefused(t *testing.T) {
	s := begin(t)
	s.values["mtuu"] = int64(1)
	var refused *RefusedError
	if _, _, err := s.step(); !errors.As(err, &refused) || !strings.Contains(err.Error(), "mtuu") {
		t.Errorf("got %v", err)
	}
	if s.wire.writes.Load() != 0 {
		t.Error("something was written all the same")
	}
}

func TestAnObjectOfSomebodyElseIsNotTaken(t *testing.T) {
	s := begin(t)
	foreign := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "fairlead-controller"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}}}
	if err := server.Client.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	_, due, err := s.step()
	if err == nil || due != Install || !strings.Contains(err.Error(), "ClusterRole fairlead-controller is in the cluster and is not Fairlead's: delete it, or") {
		t.Fatalf("%s ended with %v", due, err)
	}
	foreign.Labels = map[string]string{nameLabel: ourName}
	s.update(foreign)
	s.expect(Failed, Heal)
	s.expect(Current, None)
}

func TestRemoval(t *testing.T) {
	s := begin(t)
	s.expect(Absent, Install)
	s.set("mtu", 1300)
	s.expect(Outdated, Upgrade)
	for n := int64(3); ; n += 4 {
		s.restart(n)
		target := s.target()
		_, err := target.Observe(t.Context())
		if err == nil && target.State() == Absent {
			break
		}
		if err == nil {
			_, err = target.Do(t.Context(), target.DueForRemoval(true))
		}
		if err != nil && !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
	}
	for _, r := range refs(t) {
		if mark, _, err := s.target().Look(t.Context(), r); err != nil || mark != "" {
			t.Errorf("%s is left (%v)", r, err)
		}
	}
	if got := s.history(); got != "" {
		t.Errorf("the history is %q", got)
	}
}
