// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/bench/report"
	"github.com/fairlead-io/fairlead/test/scale/front"
)

// ailment is what a cluster has.
type ailment struct {
	name string
	// begin has cluster i fall ill, and calls begun when it does.
	begin func(s *illStory, i int, begun func())
	// says are the words of which the condition Ready must have one; none mean that nothing
	// needs to be said.
	says []string
	// most is how many requests a second it may be sent while it is ill, over two minutes:
	// backoff begins with less than a second.
	most float64
}

// midway has a cluster fall ill in the middle of an upgrade: when the new agents are applied.
func midway(ill front.Illness) func(*illStory, int, func()) {
	return func(s *illStory, i int, begun func()) {
		s.front.Fall(i, front.Upon(appliesAgents, func() {
			s.front.Fall(i, ill)
			begun()
		}, ill))
	}
}

func appliesAgents(r *http.Request) bool {
	return r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/daemonsets/"+agents)
}

// withErrors is what is said of a cluster that has failed two probes.
const withErrors = "answers with errors"

// ailments are those of the first clusters.
var ailments = []ailment{
	{
		name:  "500",
		begin: midway(front.Failing(http.StatusInternalServerError, metav1.StatusReasonInternalError, "etcdserver: no leader")),
		says:  []string{"etcdserver: no leader", withErrors}, most: 2,
	},
	{
		name:  "503",
		begin: midway(front.Failing(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "apiserver is shutting down")),
		says:  []string{"apiserver is shutting down", withErrors}, most: 2,
	},
	{
		name:  "429",
		begin: midway(front.Overloaded(time.Second)),
		says:  []string{"Too many requests", withErrors}, most: 20,
	},
	{
		name: "slow",
		begin: func(s *illStory, i int, begun func()) {
			s.front.Fall(i, front.Slow(2*time.Second))
			begun()
		},
		most: 2,
	},
	{
		name: "lost_etcd",
		begin: func(s *illStory, i int, begun func()) {
			well := func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }
			s.front.Fall(i, front.Upon(appliesAgents, func() {
				s.fleet.Clusters[i].Lose()
				begun()
			}, well))
		},
		most: 2,
	},
}

// illStory is a fleet in which some API servers fall ill.
type illStory struct {
	*simStory
	began  []atomic.Pointer[time.Time]
	before []front.Counts
}

// TestIllServers has API servers fall ill in the middle of an upgrade. The other clusters must
// not wait for them, it must be said what is wrong, they must not be beset with requests, and
// once they are well they must follow without anybody's help.
func TestIllServers(t *testing.T) {
	s := &illStory{simStory: beginSim(t, "", clustersOf("FAIRLEAD_SCALE_ILL_CLUSTERS", 100, 20))}
	s.deadline = max(s.deadline, 5*time.Minute) // backoff is up to a minute
	s.began, s.before = make([]atomic.Pointer[time.Time], len(ailments)), make([]front.Counts, len(ailments))
	others := func(i int) bool { return i >= len(ailments) }
	s.start()
	s.eventually("every cluster is Ready", func() bool { return s.ready(0, nil) == s.n })
	s.quiet()
	healthy := s.upgrade("ill_without", 1400, nil)
	s.quiet()
	for i, a := range ailments {
		a.begin(s, i, func() { s.fell(i) })
	}
	among := s.upgrade("ill_among", 1410, others)
	each := func(took time.Duration, clusters int) float64 { return took.Seconds() / float64(clusters) }
	s.row("ill", "slowdown", report.RatioUnit, each(among, s.n-len(ailments))/each(healthy, s.n))
	s.ill()
	for i := range ailments {
		s.front.Fall(i, nil)
	}
	start := time.Now()
	s.eventually("those that were ill follow", func() bool { return s.ready(1410, nil) == s.n })
	s.row("ill", "recovery max", "s", time.Since(start).Seconds())
	s.haveMTU(1410, nil)
	for i := range ailments {
		s.whole(i)
	}
	s.end()
}

// fell notes when a cluster fell ill, and what it was sent until then.
func (s *illStory) fell(i int) {
	now := time.Now()
	s.before[i] = s.front.Counts(i)
	s.began[i].Store(&now)
}

// illFor is how long clusters are ill.
func (s *illStory) illFor() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("FAIRLEAD_SCALE_ILL")); err == nil {
		return d
	}
	if testing.Short() {
		return 10 * time.Second
	}
	return 2 * time.Minute
}

// ill waits while clusters are ill: it must be said, and they must be left in peace.
func (s *illStory) ill() {
	s.t.Helper()
	for i, a := range ailments {
		s.eventually("cluster "+a.name+" is ill", func() bool { return s.began[i].Load() != nil })
		if len(a.says) == 0 {
			continue
		}
		var said string
		s.eventually(fmt.Sprintf("it is said that cluster %s is ill", a.name), func() bool {
			said = s.said(i)
			return slices.ContainsFunc(a.says, func(words string) bool { return strings.Contains(said, words) })
		})
		s.t.Logf("%s: %s", a.name, said)
	}
	for i, a := range ailments {
		began := *s.began[i].Load()
		<-time.After(time.Until(began.Add(s.illFor()))) // the time itself is what is measured
		sent := s.front.Counts(i).Minus(s.before[i])
		s.t.Logf("%s: %+v, in the end %s", a.name, sent, s.said(i))
		s.row("ill_"+a.name, "requests", "1/s", float64(sent.All())/time.Since(began).Seconds())
		if most := a.most * max(time.Since(began), 2*time.Minute).Seconds(); float64(sent.All()) > most {
			s.t.Errorf("%s: the cluster was sent %d requests, want at most %.0f", a.name, sent.All(), most)
		}
	}
}

// said is the condition Ready of a cluster: its reason and its message.
func (s *illStory) said(i int) string {
	s.t.Helper()
	cs := &v1alpha1.ClusterStack{}
	s.must(s.hub.Client.Get(s.t.Context(), client.ObjectKey{Namespace: namespace, Name: clusterName(i)}, cs))
	for _, c := range cs.Status.Conditions {
		if c.Type == v1alpha1.ConditionReady && c.Status != metav1.ConditionTrue {
			return c.Reason + ": " + c.Message
		}
	}
	return ""
}

// whole insists on a cluster having what the operator applies.
func (s *illStory) whole(i int) {
	s.t.Helper()
	c, err := client.New(s.front.Config(i), client.Options{Scheme: s.hub.Client.Scheme()})
	s.must(err)
	in := metav1.ObjectMeta{Namespace: systemNamespace}
	named := func(name string) metav1.ObjectMeta { in.Name = name; return in }
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: systemNamespace}},
		&corev1.Secret{ObjectMeta: named("fairlead-cluster-ca")}, &corev1.ConfigMap{ObjectMeta: named("fairlead-trust")},
		&appsv1.DaemonSet{ObjectMeta: named(agents)}, &appsv1.Deployment{ObjectMeta: named(controller)},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: controller}}, &rbacv1.RoleBinding{ObjectMeta: named(agents)},
	} {
		if err := c.Get(s.t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			s.t.Errorf("%s: %v", ailments[i].name, err)
		}
	}
	var records corev1.SecretList
	s.must(c.List(s.t.Context(), &records, client.InNamespace(systemNamespace), client.MatchingLabels{"owner": "helm", "status": "deployed"}))
	if len(records.Items) != 1 {
		s.t.Errorf("%s: %d releases are in force, want 1", ailments[i].name, len(records.Items))
	}
}
