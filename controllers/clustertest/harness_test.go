// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	stdsync "sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/cmd/fairlead/controllerrun"
	"github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/enroll/enrolltest"
	"github.com/fairlead-io/fairlead/internal/state"
)

const (
	namespace = "fairlead-system"
	patience  = 30 * time.Second
)

// api is the API server of all tests in this package; admin may do everything.
var (
	api           *envtest.Environment
	adminConfig   *rest.Config
	controllerCfg *rest.Config
	admin         client.Client
)

func TestMain(m *testing.M) {
	code := 1
	if err := startAPI(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	if api != nil {
		if err := api.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "the API server did not stop:", err)
			code = 1
		}
	}
	if code == 0 {
		// controller-runtime's queue may leave the goroutine behind that hands an item to a
		// worker which has just ended.
		if err := goleak.Find(goleak.IgnoreAnyFunction("sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue.(*priorityqueue[...]).handleReadyItems")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func startAPI() error {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		return fmt.Errorf("KUBEBUILDER_ASSETS is not set to a folder with etcd and kube-apiserver: run these tests with `make test-env`")
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, discoveryv1.AddToScheme, authenticationv1.AddToScheme, rbacv1.AddToScheme, v1alpha1.AddToScheme,
		networkingv1.AddToScheme, policyv1.Install,
	} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	api = &envtest.Environment{
		CRDDirectoryPaths: []string{filepath.Join("..", "..", "charts", "cni", "crds")}, ErrorIfCRDPathMissing: true,
	}
	var err error
	if adminConfig, err = api.Start(); err != nil {
		return fmt.Errorf("an API server for the tests did not start (are the programs in KUBEBUILDER_ASSETS=%s complete? `make test-env` sees to that): %w", assets, err)
	}
	if admin, err = client.New(adminConfig, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	user, err := api.AddUser(envtest.User{Name: "system:serviceaccount:" + namespace + ":fairlead-controller", Groups: []string{"system:authenticated"}}, nil)
	if err != nil {
		return err
	}
	controllerCfg = user.Config()
	return prepare(context.Background())
}

// prepare makes what the chart makes: the namespace, the agents' ServiceAccount, and
// exactly the rights that the controller needs.
func prepare(ctx context.Context) error {
	name := metav1.ObjectMeta{Name: "fairlead-controller"}
	inNamespace := metav1.ObjectMeta{Name: "fairlead-controller", Namespace: namespace}
	user := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "system:serviceaccount:" + namespace + ":fairlead-controller"}}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "fairlead-agent", Namespace: namespace}},
		&rbacv1.ClusterRole{ObjectMeta: name, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"nodes", "pods", "namespaces"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"networkpolicies"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{"policy.networking.k8s.io"}, Resources: []string{"clusternetworkpolicies"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{"policy.networking.k8s.io"}, Resources: []string{"clusternetworkpolicies/status"}, Verbs: []string{"patch"}},
			{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
			{APIGroups: []string{"fairlead.io"}, Resources: []string{"nodenetworks"}, Verbs: []string{"get", "list", "watch", "create", "update"}},
			{APIGroups: []string{"fairlead.io"}, Resources: []string{"nodenetworks/status", "addresspools/status"}, Verbs: []string{"update"}},
			{APIGroups: []string{"fairlead.io"}, Resources: []string{"addresspools"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{""}, Resources: []string{"services/status"}, Verbs: []string{"patch"}},
			{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
		}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: name, Subjects: user, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name.Name}},
		&rbacv1.Role{ObjectMeta: inNamespace, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: []string{"create"}},
			{
				APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, ResourceNames: []string{"fairlead-controller"},
				Verbs: []string{"get", "list", "watch", "update", "delete"},
			},
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create"}},
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{"fairlead-addresspool"}, Verbs: []string{"get", "update"}},
		}},
		&rbacv1.RoleBinding{ObjectMeta: inNamespace, Subjects: user, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name.Name}},
	} {
		if err := admin.Create(ctx, o); err != nil {
			return fmt.Errorf("%T %s: %w", o, o.GetName(), err)
		}
	}
	return nil
}

func testLog(t *testing.T) *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	return slog.New(slog.DiscardHandler)
}

// cluster is one test's cluster: its trust, and the port that its replicas share.
type cluster struct {
	t     *testing.T
	root  *enrolltest.Root
	caDir string
	port  int
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, root: enrolltest.NewRoot(t), caDir: t.TempDir()}
	c.root.WriteIntermediate(t, c.caDir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return c
}

// replica is one running controller with its pod.
type replica struct {
	c          *cluster
	name, host string
	health     string
	registry   *prometheus.Registry
	stop       func()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// replica starts a controller on a host address of its own. The test plays its
// kubelet: it reports the pod as ready when the controller is.
func (c *cluster) replica(name, host string, kube *rest.Config) *replica {
	c.t.Helper()
	r := &replica{c: c, name: name, host: host, health: freeAddress(c.t), registry: prometheus.NewRegistry()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	cfg := controllerrun.Config{
		Listen: fmt.Sprintf("%s:%d", host, c.port), Health: r.health, CADir: c.caDir, ClusterName: "alpha",
		ClusterPodCIDRs: []string{"10.0.0.0/8", "fd00::/16"}, Namespace: namespace, PodName: name, Kube: kube, Services: true,
		Log: testLog(c.t).With("replica", name), Metrics: r.registry,
	}
	go func() { done <- controllerrun.Run(ctx, cfg) }()
	r.stop = stdsync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("controller %s ended with %v", name, err)
		}
	})
	c.t.Cleanup(r.stop)
	return r
}

// start also makes the pod, and waits until the replica serves.
func (c *cluster) start(name, host string) *replica {
	c.t.Helper()
	r := c.replica(name, host, controllerCfg)
	r.until("/readyz", http.StatusOK)
	r.makePod()
	return r
}

func (r *replica) makePod() {
	r.c.t.Helper()
	p := pod(namespace, r.name, "host-of-"+r.name)
	p.Labels = map[string]string{"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": "controller"}
	p.Spec.HostNetwork = true
	create(r.c.t, p)
	p.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: r.nodeAddress(), HostIPs: []corev1.HostIP{{IP: r.nodeAddress()}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
	if err := admin.Status().Update(r.c.t.Context(), p); err != nil {
		r.c.t.Fatal(err)
	}
}

// nodeAddress is what the pod's node claims to have: an EndpointSlice refuses the
// loopback addresses that the replicas listen on.
func (r *replica) nodeAddress() string { return strings.Replace(r.host, "127.", "192.", 1) }

// until waits for an answer of the health server.
func (r *replica) until(path string, code int) {
	r.c.t.Helper()
	var last string
	eventually(r.c.t, fmt.Sprintf("%s of %s answers %d", path, r.name, code), func() bool {
		resp, err := http.Get("http://" + r.health + path)
		if err != nil {
			last = err.Error()
			return false
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		last = resp.Status + " " + string(body)
		return resp.StatusCode == code
	}, func() string { return last })
	http.DefaultClient.CloseIdleConnections()
}

// deletePod is the end of the replica as others see it.
func (r *replica) deletePod() { remove(r.c.t, pod(namespace, r.name, "")) }

func pod(namespace, name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
}

func create(t *testing.T, o client.Object) {
	t.Helper()
	if err := admin.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, o) })
}

func remove(t *testing.T, o client.Object) {
	t.Helper()
	err := admin.Delete(context.Background(), o, client.GracePeriodSeconds(0))
	if err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

// node makes a Node, and removes its NodeNetwork in the end (there is no garbage collector).
func node(t *testing.T, name string, address string, podCIDRs ...string) *corev1.Node {
	t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDRs: podCIDRs}}
	if len(podCIDRs) > 0 {
		n.Spec.PodCIDR = podCIDRs[0]
	}
	create(t, n)
	t.Cleanup(func() {
		remove(t, n)
		remove(t, &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: name}})
	})
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
	if err := admin.Status().Update(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return n
}

// agent is the client of a node's agent, with a token of its own pod.
type agent struct {
	client *sync.Client
	stop   func()
	mu     stdsync.Mutex
	now    sync.Update
	news   chan struct{}
	refuse func(sync.Update) error

	services      map[string]*state.Service
	endpoints     map[string]*state.ServiceEndpoints
	servicesKnown bool
}

// ApplyPolicies takes no notice of them.
func (a *agent) ApplyPolicies(context.Context, sync.PolicyUpdate) error { return nil }

// ApplyServices takes all of them.
func (a *agent) ApplyServices(_ context.Context, u sync.ServiceUpdate) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.services == nil {
		a.services, a.endpoints = map[string]*state.Service{}, map[string]*state.ServiceEndpoints{}
	}
	for _, s := range u.Services {
		a.services[s.GetNamespace()+"/"+s.GetName()] = s
	}
	for _, e := range u.Endpoints {
		a.endpoints[e.GetNamespace()+"/"+e.GetName()] = e
	}
	for _, name := range u.RemovedServices {
		delete(a.services, name)
	}
	for _, name := range u.RemovedEndpoints {
		delete(a.endpoints, name)
	}
	a.servicesKnown = u.Known
	return nil
}

// service is what the agent has of a Service of the default namespace, nil if nothing.
func (a *agent) service(name string) *state.Service {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.services["default/"+name]
}

// slice is what the agent has of an EndpointSlice of the default namespace.
func (a *agent) slice(name string) *state.ServiceEndpoints {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.endpoints["default/"+name]
}

func (a *agent) Apply(_ context.Context, u sync.Update) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refuse != nil {
		if err := a.refuse(u); err != nil {
			return err
		}
	}
	a.now = u
	select {
	case a.news <- struct{}{}:
	default:
	}
	return nil
}

func (a *agent) state() sync.Update {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now
}

// tokenOf asks the API server for a token as the kubelet does for a projected volume.
func tokenOf(t *testing.T, namespace, account, audience, nodeName string, bound bool) string {
	t.Helper()
	tr := &authenticationv1.TokenRequest{}
	if audience != "" {
		tr.Spec.Audiences = []string{audience}
	}
	if bound {
		p := pod(namespace, "agent-"+nodeName, nodeName)
		p.Spec.ServiceAccountName, p.Spec.HostNetwork = account, true
		create(t, p)
		tr.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.Name, UID: p.UID}
	}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account, Namespace: namespace}}
	if err := admin.SubResource("token").Create(t.Context(), sa, tr); err != nil {
		t.Fatal(err)
	}
	return tr.Status.Token
}

func (c *cluster) agent(nodeName string, refuse func(sync.Update) error, replicas ...*replica) *agent {
	c.t.Helper()
	return c.agentWith(nodeName, tokenOf(c.t, namespace, "fairlead-agent", "fairlead-controller", nodeName, true), refuse, replicas...)
}

func (c *cluster) agentWith(nodeName, token string, refuse func(sync.Update) error, replicas ...*replica) *agent {
	c.t.Helper()
	dir := c.t.TempDir()
	for name, data := range map[string][]byte{"token": []byte(token), "roots.pem": c.root.PEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	a := &agent{news: make(chan struct{}, 1), refuse: refuse}
	var err error
	a.client, err = sync.New(sync.Config{
		NodeName: nodeName, ClusterName: "alpha", AgentVersion: "v0.1.0", StateDir: filepath.Join(dir, "state"),
		TokenFile: filepath.Join(dir, "token"), RootsFile: filepath.Join(dir, "roots.pem"),
		MaxRetry: time.Second, Log: testLog(c.t).With("agent", nodeName),
	}, a)
	if err != nil {
		c.t.Fatal(err)
	}
	var addresses []string
	for _, r := range replicas {
		addresses = append(addresses, fmt.Sprintf("%s:%d", r.host, c.port))
	}
	a.client.SetAddresses(addresses)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.client.Run(ctx) }()
	a.stop = stdsync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	})
	c.t.Cleanup(a.stop)
	return a
}

func eventually(t *testing.T, what string, ok func() bool, last ...func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			var said []string
			for _, f := range last {
				said = append(said, f())
			}
			t.Fatalf("it never came to this: %s; last: %s", what, strings.Join(said, " "))
		}
		time.Sleep(5 * time.Millisecond) // a poll, not a wait for luck
	}
}

// report waits for a NodeNetwork to become as wanted.
func report(t *testing.T, name, what string, ok func(v1alpha1.NodeNetworkStatus) bool) v1alpha1.NodeNetwork {
	t.Helper()
	var nn v1alpha1.NodeNetwork
	eventually(t, "NodeNetwork "+name+" is "+what, func() bool {
		err := admin.Get(t.Context(), client.ObjectKey{Name: name}, &nn)
		return err == nil && ok(nn.Status)
	}, func() string { return fmt.Sprintf("%+v", nn.Status) })
	return nn
}

// is says whether a condition has a status and a reason.
func is(s v1alpha1.NodeNetworkStatus, kind string, status metav1.ConditionStatus, reason string) bool {
	c := meta.FindStatusCondition(s.Conditions, kind)
	return c != nil && c.Status == status && c.Reason == reason
}

func ready(s v1alpha1.NodeNetworkStatus) bool {
	return is(s, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonAcknowledged)
}
