// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	runtimecatalog "sigs.k8s.io/cluster-api/api/runtime/catalog"
	runtimehooksv1 "sigs.k8s.io/cluster-api/api/runtime/hooks/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/internal/stack"
	"github.com/fairlead-io/fairlead/internal/trust"
)

// hub is the management cluster of every test.
var hub *fleettest.Server

// start starts it for the first test that wants it: fuzz targets do not.
var start = sync.OnceValue(func() (err error) {
	hub, err = fleettest.Hub()
	return err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if hub != nil {
		if err := hub.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// story is one test's namespace, with replicas of the operator's part that is tested.
type story struct {
	*gomega.WithT
	t   *testing.T
	ctx context.Context
	ns  string
	now func() time.Time
}

func begin(t *testing.T) *story {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s := &story{WithT: gomega.NewWithT(t), t: t, ctx: ctx, now: time.Now}
	s.Expect(start()).To(gomega.Succeed())
	s.SetDefaultEventuallyTimeout(20 * time.Second)
	s.SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "s-"}}
	s.Expect(hub.Client.Create(ctx, ns)).To(gomega.Succeed())
	s.ns = ns.Name
	t.Cleanup(func() {
		// The FleetPools of a fleet must not overlap: a test leaves none behind.
		_ = hub.Client.DeleteAllOf(context.Background(), &v1alpha1.FleetPool{}, client.InNamespace(s.ns))
		_ = hub.Client.DeleteAllOf(context.Background(), &clusterv1.Cluster{}, client.InNamespace(s.ns))
	})
	return s
}

// pool is a FleetPool with room for 16 clusters' pods.
func (s *story) pool() *v1alpha1.FleetPool {
	return &v1alpha1.FleetPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "fleet"},
		Spec: v1alpha1.FleetPoolSpec{
			ClusterIDs: v1alpha1.ClusterIDRange{First: 1, Last: 100},
			Pools: []v1alpha1.FleetAddresses{
				{Name: "pods", Use: v1alpha1.AddressesForPods, Prefixes: []v1alpha1.Prefix{"10.64.0.0/12", "fd00:64::/40"}},
				{Name: "services", Use: v1alpha1.AddressesForServices, Prefixes: []v1alpha1.Prefix{"10.96.0.0/16", "fd00:96::/100"}},
				{Name: "lb", Use: v1alpha1.AddressesForLoadBalancers, Prefixes: []v1alpha1.Prefix{"192.0.2.0/24"}},
			},
			Classes: []v1alpha1.ClusterClassSizes{{
				Name: "default",
				Pods: v1alpha1.PrefixLengths{IPv4: 16, IPv6: 56}, Services: v1alpha1.PrefixLengths{IPv4: 20, IPv6: 112}, LoadBalancers: v1alpha1.PrefixLengths{IPv4: 28},
			}},
		},
	}
}

func (s *story) create(o client.Object) {
	s.t.Helper()
	s.Expect(hub.Client.Create(s.ctx, o)).To(gomega.Succeed())
}

// cluster is a Cluster with a topology.
func (s *story) cluster(name string) *clusterv1.Cluster {
	return &clusterv1.Cluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name, Labels: map[string]string{"environment": "test"}},
		Spec:       clusterv1.ClusterSpec{Topology: clusterv1.Topology{ClassRef: clusterv1.ClusterClassRef{Name: "class"}, Version: "v1.35.4"}},
	}
}

func (s *story) get(name string) *clusterv1.Cluster {
	s.t.Helper()
	c := &clusterv1.Cluster{}
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: name}, c)).To(gomega.Succeed())
	return c
}

// status is that of the namespace's FleetPool.
func (s *story) status() v1alpha1.FleetPoolStatus {
	s.t.Helper()
	p := &v1alpha1.FleetPool{}
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: "fleet"}, p)).To(gomega.Succeed())
	return p.Status
}

// replica is one operator's hooks, served over TLS.
type replica struct {
	s      *story
	url    string
	client *http.Client
	hooks  *Hooks
	cache  cache.Cache
}

// replica starts one with versions of Fairlead, and waits until it answers. It has the rights
// that the chart gives the operator, and no others.
func (s *story) replica(versions stack.Versions) *replica {
	s.t.Helper()
	scheme, err := fleettest.Scheme()
	s.Expect(err).NotTo(gomega.HaveOccurred())
	cfg := hub.Operator()
	cfg.QPS, cfg.Burst = 500, 1000
	live, err := client.New(cfg, client.Options{Scheme: scheme})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	cached, err := cache.New(cfg, cache.Options{Scheme: scheme, DefaultNamespaces: map[string]cache.Config{s.ns: {}}})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	for _, o := range []client.Object{&clusterv1.Cluster{}, &v1alpha1.FleetPool{}, &v1alpha1.NetworkStack{}, &v1alpha1.ClusterStack{}} {
		_, err := cached.GetInformer(s.ctx, o)
		s.Expect(err).NotTo(gomega.HaveOccurred())
	}
	go cached.Start(s.ctx) //nolint:errcheck // it ends with the test
	s.Expect(cached.WaitForCacheSync(s.ctx)).To(gomega.BeTrue())

	root, err := (&trust.Store{Reader: live, Writer: live, Now: time.Now}).Operator(s.ctx, "fairlead-system")
	s.Expect(err).NotTo(gomega.HaveOccurred())
	certificate, err := root.Authority.Serving([]string{"127.0.0.1"}, time.Now())
	s.Expect(err).NotTo(gomega.HaveOccurred())
	address := freeAddress(s.t)
	r := &replica{s: s, url: "https://" + address, cache: cached, hooks: &Hooks{
		Giver: &Giver{
			Ledger: &Ledger{Live: live, Cached: cached, Writer: live, Now: func() time.Time { return s.now() }},
			Events: events.NewFakeRecorder(10000),
		},
		Support: &Support{Reader: cached, Versions: func() stack.Versions { return versions }},
	}}
	server, err := NewServer(address, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil }, r.hooks, &Admission{Reader: cached})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	go server.Start(s.ctx) //nolint:errcheck // it ends with the test
	roots := x509.NewCertPool()
	roots.AddCert(root.Authority.Certificate)
	r.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 64}, Timeout: 15 * time.Second}
	s.Eventually(func() error {
		c, err := net.Dial("tcp", address)
		if err == nil {
			err = c.Close()
		}
		return err
	}).Should(gomega.Succeed())
	return r
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it was only asked for its port
	return l.Addr().String()
}

// catalog names the paths of hooks.
var catalog = func() *runtimecatalog.Catalog {
	c := runtimecatalog.New()
	if err := runtimehooksv1.AddToCatalog(c); err != nil {
		panic(err)
	}
	return c
}()

// call asks a hook by HTTPS, as Cluster API does.
func (r *replica) call(hook runtimecatalog.Hook, name string, request, response any) error {
	gvh, err := catalog.GroupVersionHook(hook)
	if err != nil {
		return err
	}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	answer, err := r.client.Post(r.url+runtimecatalog.GVHToPath(gvh, name), "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", answer.Status, raw)
	}
	return json.Unmarshal(raw, response)
}

// create is BeforeClusterCreate.
func (r *replica) create(c *clusterv1.Cluster) (*runtimehooksv1.BeforeClusterCreateResponse, error) {
	resp := &runtimehooksv1.BeforeClusterCreateResponse{}
	return resp, r.call(runtimehooksv1.BeforeClusterCreate, "reserve", &runtimehooksv1.BeforeClusterCreateRequest{Cluster: *c}, resp)
}
