// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/internal/probe"
	"github.com/fairlead-io/fairlead/internal/probe/prober"
)

// cluster is a real API server.
var cluster *fleettest.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if cluster, err = fleettest.Workload(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer cluster.Stop() //nolint:errcheck // the process ends here
	return m.Run()
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// namespace makes one in which only the strictest pods may be.
func namespace(t *testing.T, name string) {
	t.Helper()
	noError(t, cluster.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}))
}

func objects(namespace string) []client.Object {
	return Objects(Options{Namespace: namespace, Image: "fairlead.io/fairlead:v1", PullPolicy: corev1.PullIfNotPresent, APIServerHost: "192.0.2.1", APIServerPort: 6443})
}

func apply(t *testing.T, namespace string) {
	t.Helper()
	for _, o := range objects(namespace) {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		noError(t, err)
		u := &unstructured.Unstructured{Object: content}
		noError(t, cluster.Client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("fairlead-operator"), client.ForceOwnership))
	}
}

// pod makes the pod of the DaemonSet on a node, as its controller would.
func pod(t *testing.T, namespace, node string) *corev1.Pod {
	t.Helper()
	d := &appsv1.DaemonSet{}
	noError(t, cluster.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: probe.Name}, d))
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "probe-" + node, Labels: d.Spec.Template.Labels},
		Spec:       d.Spec.Template.Spec,
	}
	p.Spec.NodeName = node
	noError(t, cluster.Client.Create(t.Context(), p))
	return p
}

func TestObjectsAreAppliedAgainWithoutAChange(t *testing.T) {
	namespace(t, "applied")
	apply(t, "applied")
	versions := func() (out []string) {
		for _, o := range objects("applied") {
			noError(t, cluster.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o))
			out = append(out, fmt.Sprintf("%T %s", o, o.GetResourceVersion()))
			if o.GetLabels()["app.kubernetes.io/managed-by"] != "fairlead-operator" || o.GetLabels()["app.kubernetes.io/component"] != "probe" {
				t.Errorf("%T has labels %v", o, o.GetLabels())
			}
		}
		return out
	}
	first := versions()
	apply(t, "applied")
	if again := versions(); fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("versions were %v and are %v", first, again)
	}
}

// TestTheProbesPodIsRestricted: the API server refuses any other in this namespace.
func TestTheProbesPodIsRestricted(t *testing.T) {
	namespace(t, "restricted")
	apply(t, "restricted")
	noError(t, cluster.Client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "restricted", Name: "default"}}))
	p := pod(t, "restricted", "r1")
	if p.Spec.HostNetwork || p.Spec.HostPID || len(p.Spec.Volumes) > 1 { // that of the token
		t.Errorf("the pod has the host's network or files: %+v", p.Spec)
	}
	bad := p.DeepCopy()
	bad.ObjectMeta = metav1.ObjectMeta{Namespace: "restricted", Name: "bad"}
	bad.Spec.HostNetwork = true
	if err := cluster.Client.Create(t.Context(), bad); err == nil {
		t.Error("a pod with the host's network was let in: the namespace restricts nothing")
	}
}

// TestProbesFindOneAnother: with the rights of the probes' own ServiceAccount, and no more.
func TestProbesFindOneAnother(t *testing.T) {
	namespace(t, "found")
	apply(t, "found")
	cfg := rest.CopyConfig(cluster.Config)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:found:" + probe.Name, Groups: []string{"system:authenticated"}}
	ctx, cancel := context.WithCancel(t.Context())
	found := make(chan []prober.Peer, 100)
	done := make(chan error, 1)
	go func() { done <- prober.Watch(cfg, "found")(ctx, func(p []prober.Peer) { found <- p }) }()
	defer func() { cancel(); noError(t, <-done) }()

	for _, s := range endpointSlices("found") {
		noError(t, cluster.Client.Create(ctx, s))
	}
	until(t, func() string {
		select {
		case got := <-found:
			if len(got) == 2 && len(got[0].Addresses) == 2 && len(got[1].Addresses) == 2 {
				return ""
			}
			return fmt.Sprintf("found %+v, want nodes a and b with two addresses each", got)
		default:
			return "nothing more was found"
		}
	})
	mine, err := client.New(cfg, client.Options{})
	noError(t, err)
	if err := mine.List(ctx, &corev1.PodList{}, client.InNamespace("found")); err == nil {
		t.Error("probes may list pods")
	}
}

// until waits until there is nothing left to say.
func until(t *testing.T, lacks func() string) {
	t.Helper()
	deadline, what := time.After(20*time.Second), ""
	for {
		if what = lacks(); what == "" {
			return
		}
		select {
		case <-deadline:
			t.Fatal(what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// kubelet serves the logs of pods of its nodes to the API server, which hands them on.
type kubelet struct {
	mu    sync.Mutex
	logs  map[string]string // by pod
	asked map[string]url.Values
	port  int32
}

func newKubelet(t *testing.T) *kubelet {
	k := &kubelet{logs: map[string]string{}, asked: map[string]url.Values{}}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pod := path.Base(path.Dir(r.URL.Path)) // /containerLogs/NAMESPACE/POD/CONTAINER
		k.mu.Lock()
		log, ok := k.logs[pod]
		k.asked[pod] = r.URL.Query()
		k.mu.Unlock()
		if !ok {
			http.Error(w, "the disk is gone", http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, log)
	}))
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	port, err := strconv.ParseInt(s.URL[strings.LastIndex(s.URL, ":")+1:], 10, 32)
	noError(t, err)
	k.port = int32(port)
	return k
}

func (k *kubelet) node(t *testing.T, name string) {
	t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	noError(t, cluster.Client.Create(t.Context(), n))
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = k.port
	noError(t, cluster.Client.Status().Update(t.Context(), n))
}

func (k *kubelet) log(pod string, reports ...probe.Report) {
	k.mu.Lock()
	defer k.mu.Unlock()
	text := "{\"level\":\"INFO\",\"msg\":\"probing\"}\n"
	for _, r := range reports {
		line, _ := r.Encode()
		text += string(line)
	}
	k.logs[pod] = text
}

// status sets what a pod's kubelet says of it.
func status(t *testing.T, p *corev1.Pod, s corev1.ContainerStatus, ready corev1.ConditionStatus) {
	t.Helper()
	s.Name, s.Image = "probe", "i"
	p.Status.ContainerStatuses = []corev1.ContainerStatus{s}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	noError(t, cluster.Client.Status().Update(t.Context(), p))
}

// TestReading is a cluster of which one node is well, though its clock is an hour ahead, and
// each of the others has a trouble of its own.
func TestReading(t *testing.T) {
	namespace(t, "read")
	noError(t, cluster.Client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "read", Name: "default"}}))
	apply(t, "read")
	k := newKubelet(t)
	running := corev1.ContainerStatus{ContainerID: "c://1", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	for node, s := range map[string]corev1.ContainerStatus{
		"n1": running, "n2": running,
		"n3": {State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"}}},
		"n4": {ContainerID: "c://2", RestartCount: 4, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off"}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}},
	} {
		k.node(t, node)
		ready := corev1.ConditionFalse
		if s.State.Running != nil {
			ready = corev1.ConditionTrue
		}
		status(t, pod(t, "read", node), s, ready)
	}
	now := noon
	c, err := New(cluster.Config)
	noError(t, err)
	c.now = func() time.Time { return now }

	ahead := noon.Add(time.Hour)
	k.log("probe-n1", seconds(ahead.Add(-30*time.Second), 30)...)
	k.log("probe-n4")
	readings, err := c.Read(t.Context(), "read", now.Add(-10*time.Second))
	noError(t, err)
	if len(readings) != 4 {
		t.Fatalf("%d nodes were read, want 4: %+v", len(readings), readings)
	}
	well := readings[0]
	if !well.Ready || well.Why != "" || well.LastTo != now || well.Image != "fairlead.io/fairlead:v1" || well.Covered != 10*time.Second || well.Probes[0].Sent != 1000 {
		t.Errorf("the node that is well: %+v", well)
	}
	if q := k.asked["probe-n1"]; q.Get("sinceSeconds") != "12" || q.Get("tailLines") != "42" || q.Get("limitBytes") == "" {
		t.Errorf("its log was asked for with %v", q)
	}
	for i, want := range []string{"its log cannot be read", "ImagePullBackOff: no such image", "CrashLoopBackOff after 4 restarts, ended with code 1: back-off"} {
		if r := readings[i+1]; !strings.Contains(r.Why, want) || !r.LastTo.IsZero() || r.Known != now {
			t.Errorf("node %s: %+v, want %q", r.Node, r, want)
		}
	}

	t.Run("an old report is no news", func(t *testing.T) {
		began := now
		for now.Sub(began) < 11*time.Second {
			now = now.Add(2 * time.Second)
			readings, err = c.Read(t.Context(), "read", now.Add(-10*time.Second))
			noError(t, err)
		}
		if readings[0].LastTo != began {
			t.Errorf("last heard of at %s, want %s", readings[0].LastTo, began)
		}
		v := Judge(nil, readings[:1], v1alpha1.GatesSpec{}, now)
		if v == nil || v.Reason != v1alpha1.ReasonProbesNotRunning || v.Node != "n1" {
			t.Errorf("the verdict is %+v", v)
		}
	})
	t.Run("after a break nobody is blamed at once", func(t *testing.T) {
		now = now.Add(time.Minute)
		readings, err = c.Read(t.Context(), "read", now.Add(-10*time.Second))
		noError(t, err)
		if v := Judge(nil, readings, v1alpha1.GatesSpec{}, now); v != nil {
			t.Errorf("the verdict is %+v", v)
		}
	})
}

// seconds are reports of one second each.
func seconds(from time.Time, n int) (out []probe.Report) {
	for i := range n {
		at := from.Add(time.Duration(i) * time.Second)
		out = append(out, probe.Report{Node: "n", From: at, To: at.Add(time.Second), Samples: []probe.Sample{
			{Probe: "peers", Peer: "node m by IPv4", Sent: 100, Times: probe.Times{90: 100}},
		}})
	}
	return out
}
