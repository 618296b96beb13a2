// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/testkit"
)

const releaseName = "fairlead-cni"

// releases are the records of Helm's in a cluster.
func releases(t *testing.T, cluster string) *storage.Storage {
	t.Helper()
	cfg, err := lab.REST(cluster)
	if err != nil {
		t.Fatal(err)
	}
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return storage.Init(driver.NewSecrets(cs.CoreV1().Secrets(system)))
}

// TestBStuckReleasesAreHealed: whatever Helm's records say, the cluster comes back to what is
// wanted, and no agent restarts for it, because its objects are as they should be. A release
// that is pending is never taken for one that is up to date (CAAPH#416).
func TestBStuckReleasesAreHealed(t *testing.T) {
	startOperator(t, alone)
	installed(t, next)
	cluster := clusters[0]
	before := generations(t)
	for name, spoil := range map[string]func(*testing.T, *storage.Storage, *release.Release){
		"pending-install":  setStatus(release.StatusPendingInstall),
		"pending-upgrade":  setStatus(release.StatusPendingUpgrade),
		"pending-rollback": setStatus(release.StatusPendingRollback),
		"failed":           setStatus(release.StatusFailed),
		"superseded":       setStatus(release.StatusSuperseded),
		"unknown":          setStatus(release.StatusUnknown),
		"uninstalling":     setStatus(release.StatusUninstalling),
		"unreadable":       garble,
	} {
		t.Run(name, func(t *testing.T) {
			st := releases(t, cluster)
			last, err := st.Last(releaseName)
			if err != nil {
				t.Fatal(err)
			}
			spoil(t, st, last)
			// Somebody looks at the cluster: a record of Helm's sends no event.
			nudge(t, cluster)
			start := time.Now()
			testkit.Eventually(t, time.Minute, "the release is deployed", func(context.Context) error {
				now, err := releases(t, cluster).Last(releaseName)
				if err != nil {
					return err
				}
				if now.Info.Status != release.StatusDeployed {
					return fmt.Errorf("revision %d is %s: %s", now.Version, now.Info.Status, now.Info.Description)
				}
				return nil
			})
			t.Logf("healed after %.1f s", time.Since(start).Seconds())
			testkit.Eventually(t, time.Minute, "the cluster is Ready", func(ctx context.Context) error { return clusterReady(ctx, cluster) })
			if after := generations(t); !maps.Equal(before, after) {
				t.Errorf("workloads were changed: %v, before %v", after, before)
			}
		})
	}
}

func setStatus(status release.Status) func(*testing.T, *storage.Storage, *release.Release) {
	return func(t *testing.T, st *storage.Storage, r *release.Release) {
		t.Helper()
		r.Info.Status = status
		if err := st.Update(r); err != nil {
			t.Fatal(err)
		}
	}
}

// garble makes the newest record unreadable.
func garble(t *testing.T, _ *storage.Storage, r *release.Release) {
	t.Helper()
	c := clientOf(t, clusters[0])
	s := &corev1.Secret{}
	key := client.ObjectKey{Namespace: system, Name: fmt.Sprintf("sh.helm.release.v1.%s.v%d", releaseName, r.Version)}
	ctx := testkit.Within(t, time.Minute)
	if err := c.Get(ctx, key, s); err != nil {
		t.Fatal(err)
	}
	s.Data["release"] = []byte("garbage")
	if err := c.Update(ctx, s); err != nil {
		t.Fatal(err)
	}
}

// nudge has the operator look at a cluster, as any event at its ClusterStack does.
func nudge(t *testing.T, cluster string) {
	t.Helper()
	cs := &fairlead.ClusterStack{ObjectMeta: metav1.ObjectMeta{Namespace: testkit.FleetNamespace, Name: cluster}}
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"annotations":{"example.org/looked":"%d"}}}`, time.Now().UnixNano()))
	if err := clientOf(t, testkit.Hub).Patch(testkit.Within(t, time.Minute), cs, patch); err != nil {
		t.Fatal(err)
	}
}

func clusterReady(ctx context.Context, cluster string) error {
	cs, err := clusterStack(ctx, cluster)
	if err != nil {
		return err
	}
	for _, c := range cs.Status.Conditions {
		if c.Type == fairlead.ConditionReady {
			if c.Status == metav1.ConditionTrue && c.ObservedGeneration == cs.Generation {
				return nil
			}
			return fmt.Errorf("%s: %s", c.Reason, c.Message)
		}
	}
	return fmt.Errorf("no condition yet")
}

// TestBDriftIsRepaired: what somebody changes or deletes of Fairlead's is put right, and
// agents do not restart for what is not about them.
func TestBDriftIsRepaired(t *testing.T) {
	startOperator(t, alone)
	installed(t, next)
	cluster := clusters[0]
	c := clientOf(t, cluster)
	before := generations(t)
	role := client.ObjectKey{Name: "fairlead-controller"}
	repaired := func(t *testing.T, what string, check func(ctx context.Context) error) {
		t.Helper()
		start := time.Now()
		testkit.Eventually(t, time.Minute, what, check)
		t.Logf("%s after %.1f s", what, time.Since(start).Seconds())
	}
	ctx := testkit.Within(t, 3*time.Minute)
	if err := c.Delete(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role.Name}}); err != nil {
		t.Fatal(err)
	}
	repaired(t, "a binding that was deleted is back", func(ctx context.Context) error {
		return c.Get(ctx, role, &rbacv1.ClusterRoleBinding{})
	})
	edited := &rbacv1.ClusterRole{}
	if err := c.Get(ctx, role, edited); err != nil {
		t.Fatal(err)
	}
	rules := len(edited.Rules)
	edited.Rules = nil
	if err := c.Update(ctx, edited); err != nil {
		t.Fatal(err)
	}
	repaired(t, "a role that was emptied is whole", func(ctx context.Context) error {
		if err := c.Get(ctx, role, edited); err != nil {
			return err
		}
		if len(edited.Rules) != rules {
			return fmt.Errorf("it has %d rules, want %d", len(edited.Rules), rules)
		}
		return nil
	})
	if after := generations(t); !maps.Equal(before, after) {
		t.Errorf("workloads were changed: %v, before %v", after, before)
	}
	agents := &appsv1.DaemonSet{}
	key := client.ObjectKey{Namespace: system, Name: "fairlead-agent"}
	if err := c.Get(ctx, key, agents); err != nil {
		t.Fatal(err)
	}
	image := agents.Spec.Template.Spec.Containers[0].Image
	agents.Spec.Template.Spec.Containers[0].Image = "example.org/other:v1"
	if err := c.Update(ctx, agents); err != nil {
		t.Fatal(err)
	}
	repaired(t, "another image is put right", func(ctx context.Context) error {
		if err := c.Get(ctx, key, agents); err != nil {
			return err
		}
		if got := agents.Spec.Template.Spec.Containers[0].Image; got != image {
			return fmt.Errorf("the image is %s", got)
		}
		return nil
	})
	testkit.Eventually(t, 2*time.Minute, "the cluster is Ready", func(ctx context.Context) error { return clusterReady(ctx, cluster) })
	runs(t, next)
}
