// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	helmrelease "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/charts"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/internal/helm"
	"github.com/fairlead-io/fairlead/internal/objects"
)

// server is the cluster of every test.
var server *fleettest.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if server, err = fleettest.Workload(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer server.Stop() //nolint:errcheck // the process ends here
	return m.Run()
}

// errKilled is what a process that was killed gets from the network.
var errKilled = errors.New("the operator was killed")

// wire counts the requests to the cluster, and lets none through after so many.
type wire struct {
	next   http.RoundTripper
	count  atomic.Int64
	after  int64 // 0: never
	writes atomic.Int64
	crds   atomic.Int64
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	n := w.count.Add(1)
	if w.after > 0 && n > w.after {
		return nil, errKilled
	}
	if r.Method != http.MethodGet && r.URL.Query().Get("dryRun") == "" {
		w.writes.Add(1)
		if strings.Contains(r.URL.Path, "customresourcedefinitions") {
			w.crds.Add(1)
		}
	}
	return w.next.RoundTrip(r)
}

// story is one release of the cni chart in a cluster.
type story struct {
	t      *testing.T
	chart  *Chart
	shared *Discovery
	memory *Memory
	wire   *wire
	now    time.Time
	values map[string]any
	plan   string
	keep   string
	ignore []Ignore
	// host is the server's name, when it is to be taken for another one.
	host string
}

const (
	releaseName = "fairlead-cni"
	namespace   = "fairlead-system"
)

func cniChart(t *testing.T) *Chart {
	t.Helper()
	c, err := LoadChart(charts.CNI, charts.CNIRoot)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// begin is a cluster with our namespace and nothing in it.
func begin(t *testing.T) *story {
	t.Helper()
	s := &story{t: t, chart: cniChart(t), now: time.Unix(1_800_000_000, 0), plan: "p1"}
	s.restart(0)
	s.set("mtu", 0)
	wipe(t)
	t.Cleanup(func() { wipe(t) })
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if err := server.Client.Create(t.Context(), ns); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	return s
}

// wipe takes away every release and its objects.
func wipe(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	for _, r := range refs(t) {
		for _, name := range []string{"fairlead-agent", "fairlead-controller"} {
			o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: name}}
			o.SetGroupVersionKind(r.Kind)
			if err := client.IgnoreNotFound(server.Client.Delete(ctx, o)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := server.Client.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
}

// refs are the objects of the chart.
func refs(t *testing.T) []Ref {
	t.Helper()
	files, err := cniChart(t).Render(releaseName, namespace, values(0))
	if err != nil {
		t.Fatal(err)
	}
	var out []Ref
	for _, text := range files {
		all, err := objectsIn(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range all {
			out = append(out, objects.RefOf(o))
		}
	}
	return out
}

func values(mtu int) map[string]any {
	return map[string]any{"clusterName": "alpha", "apiServer": map[string]any{"host": "192.0.2.1", "port": int64(6443)}, "mtu": int64(mtu)}
}

// set changes the wanted configuration; plan names it.
func (s *story) set(_ string, mtu int) { s.values = values(mtu) }

// restart has another operator take over, which knows nothing yet. It is killed after so many
// requests; 0 for never.
func (s *story) restart(killedAfter int64) {
	s.shared, s.memory, s.wire = &Discovery{}, &Memory{}, &wire{after: killedAfter}
}

func (s *story) target() *Target {
	s.t.Helper()
	cfg := rest.CopyConfig(server.Config)
	cfg.QPS = -1
	if s.host != "" {
		cfg.Host = s.host
	}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		s.wire.next = next
		return s.wire
	})
	t, err := New(cfg, namespace, releaseName, s.shared, s.memory, s.t.Logf)
	if err != nil {
		s.t.Fatal(err)
	}
	t.Chart, t.Version, t.Values, t.Plan, t.Keep, t.Ignore = s.chart, "v0.1.0", s.values, s.plan, s.keep, s.ignore
	t.Digest = fmt.Sprintf("d-%v", s.values["mtu"])
	t.Now = func() time.Time { return s.now }
	t.Look = func(ctx context.Context, r Ref) (string, bool, error) {
		o := &metav1.PartialObjectMetadata{}
		o.SetGroupVersionKind(r.Kind)
		err := server.Client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: r.Name}, o)
		if apierrors.IsNotFound(err) {
			return "", true, nil
		}
		return objects.Mark(o), true, err
	}
	return t
}

// step observes and does what is due, and returns both.
func (s *story) step() (State, Action, error) {
	s.t.Helper()
	t := s.target()
	if _, err := t.Observe(s.t.Context()); err != nil {
		return "", "", err
	}
	state, due := t.State(), t.Due(true)
	_, err := t.Do(s.t.Context(), due)
	return state, due, err
}

// expect is step with what it has to be.
func (s *story) expect(state State, due Action) {
	s.t.Helper()
	gotState, gotDue, err := s.step()
	if err != nil || gotState != state || gotDue != due {
		s.t.Fatalf("the release is %s and %s is due (%v); want %s and %s", gotState, gotDue, err, state, due)
	}
}

// settle steps until nothing is due, and returns the actions.
func (s *story) settle() []Action {
	s.t.Helper()
	var out []Action
	for range 6 {
		state, due, err := s.step()
		if err != nil {
			s.t.Fatal(err)
		}
		if due == None {
			if state != Current {
				s.t.Fatalf("nothing is due and the release is %s", state)
			}
			return out
		}
		out = append(out, due)
	}
	s.t.Fatalf("it does not come to an end: %v", out)
	return nil
}

// observe is what there is now.
func (s *story) observe() *Target {
	s.t.Helper()
	t := s.target()
	if _, err := t.Observe(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return t
}

// records is Helm's own view of the history, by its own code, the oldest first.
func (s *story) records() *storage.Storage {
	s.t.Helper()
	cs, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		s.t.Fatal(err)
	}
	return storage.Init(driver.NewSecrets(cs.CoreV1().Secrets(namespace)))
}

// history is "1:superseded 2:deployed", by Helm's own code.
func (s *story) history() string {
	s.t.Helper()
	all, err := s.records().History(releaseName)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return ""
	}
	if err != nil {
		s.t.Fatal(err)
	}
	out := make([]string, 0, len(all))
	for range all {
		low := 0
		for i := range all {
			if all[low] == nil || (all[i] != nil && all[i].Version < all[low].Version) {
				low = i
			}
		}
		out = append(out, fmt.Sprintf("%d:%s", all[low].Version, all[low].Info.Status))
		all[low] = nil
	}
	return strings.Join(out, " ")
}

// mark gives the newest record another status, by Helm's own code.
func (s *story) mark(status helmrelease.Status) {
	s.t.Helper()
	r, err := s.records().Last(releaseName)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Info.Status = status
	if err := s.records().Update(r); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) agents() *appsv1.DaemonSet {
	s.t.Helper()
	d := &appsv1.DaemonSet{}
	if err := server.Client.Get(s.t.Context(), client.ObjectKey{Namespace: namespace, Name: "fairlead-agent"}, d); err != nil {
		s.t.Fatal(err)
	}
	return d
}

// agentsHave says whether the agents are told an MTU.
func (s *story) agentsHave(mtu int) {
	s.t.Helper()
	args := strings.Join(s.agents().Spec.Template.Spec.Containers[0].Args, " ")
	if want := fmt.Sprintf("--mtu=%d ", mtu); !strings.Contains(args, want) {
		s.t.Fatalf("the agents have %q, want %s", args, want)
	}
}

func objectsIn(text string) ([]*unstructured.Unstructured, error) { return helm.Objects([]byte(text)) }
