// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
)

// silent takes connections and never answers. It gives its URL.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
		}
	}()
	return "https://" + l.Addr().String()
}

// hub is a management cluster's API server, work a workload cluster's: started by the first
// test that needs them, for fuzz targets need none.
var (
	hub, work *fleettest.Server
	servers   = sync.OnceValue(func() (err error) {
		ctrl.SetLogger(logr.Discard())
		if hub, err = fleettest.Hub(); err == nil {
			work, err = fleettest.Workload()
		}
		return err
	})
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, s := range []*fleettest.Server{hub, work} {
		if s != nil {
			_ = s.Stop() // the process ends here
		}
	}
	os.Exit(code)
}

// story is a Fleet of the clusters in a namespace of its own.
type story struct {
	*WithT
	t     *testing.T
	ns    string
	fleet *Fleet
	// told counts what Source has enqueued.
	told atomic.Int64
}

func begin(t *testing.T, o Options) *story {
	t.Helper()
	s := &story{WithT: NewWithT(t), t: t}
	s.SetDefaultEventuallyTimeout(30 * time.Second)
	s.Expect(servers()).To(Succeed())
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "s-"}}
	s.Expect(hub.Client.Create(t.Context(), ns)).To(Succeed())
	s.ns = ns.Name
	secrets, err := HubSecrets()
	s.Expect(err).NotTo(HaveOccurred())
	mgr, err := ctrl.NewManager(hub.Operator(), ctrl.Options{
		Scheme: hub.Client.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"},
		Cache: cache.Options{ByObject: secrets, DefaultNamespaces: map[string]cache.Config{s.ns: {}}},
	})
	s.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	o.SkipNameValidation = true
	s.fleet, err = Setup(ctx, mgr, o)
	s.Expect(err).NotTo(HaveOccurred())
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	s.Expect(s.fleet.Source(func(cluster client.ObjectKey) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: cluster}}
	}).Start(ctx, queue)).To(Succeed())
	go func() {
		for {
			r, ended := queue.Get()
			if ended {
				return
			}
			s.told.Add(1)
			queue.Done(r)
		}
	}()
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the manager ended with %v", err)
		}
		queue.ShutDown()
	})
	return s
}

// cluster creates a Cluster with its kubeconfig.
func (s *story) cluster(name, server string) *clusterv1.Cluster {
	s.t.Helper()
	c := fleettest.CreateCluster(s.t.Context(), s.t, hub.Client, s.ns, name, nil, "192.0.2.1", 6443)
	s.Expect(hub.Client.Create(s.t.Context(), fleettest.KubeconfigSecret(s.ns, name, s.kubeconfig(server)))).To(Succeed())
	return c
}

func (s *story) kubeconfig(server string) []byte {
	s.t.Helper()
	cfg := *work.Config
	cfg.Host = server
	raw, err := fleettest.Kubeconfig(&cfg)
	s.Expect(err).NotTo(HaveOccurred())
	return raw
}

// point puts another server into a Cluster's kubeconfig.
func (s *story) point(name, server string) {
	s.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: kubeconfigName(name)}}
	s.Eventually(func() error {
		if err := hub.Client.Get(s.t.Context(), client.ObjectKeyFromObject(secret), secret); err != nil {
			return err
		}
		secret.Data[kubeconfigKey] = s.kubeconfig(server)
		return hub.Client.Update(s.t.Context(), secret)
	}).Should(Succeed())
}

// state is the server that a Cluster is connected to, or why it is to none.
func (s *story) state(c *clusterv1.Cluster) func() string {
	return func() string {
		conn, err := s.fleet.Connect(s.t.Context(), c)
		if p := (*Problem)(nil); errors.As(err, &p) {
			return p.Reason
		}
		if err != nil {
			return err.Error()
		}
		return conn.Server
	}
}

func TestAConnectionFollowsItsKubeconfig(t *testing.T) {
	s := begin(t, Options{Retry: time.Second})
	alpha := s.cluster("alpha", work.Config.Host)
	s.Eventually(s.state(alpha)).Should(Equal(work.Config.Host))
	s.Expect(s.told.Load()).To(BeNumerically(">", 0), "whoever waits is told")
	conn, err := s.fleet.Connect(t.Context(), alpha)
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(conn.Live.Get(t.Context(), client.ObjectKey{Name: "default"}, &corev1.Namespace{})).To(Succeed())
	s.Expect(conn.Cached.Get(t.Context(), client.ObjectKey{Name: "default"}, &corev1.Namespace{})).To(Succeed())

	// The former server still answers, and is not asked any more.
	s.point("alpha", silent(t))
	s.Eventually(s.state(alpha)).Should(Equal(v1alpha1.ReasonUnreachable))
	s.Expect(conn.Cached.Get(t.Context(), client.ObjectKey{Name: "default"}, &corev1.Namespace{})).To(MatchError(errEnded), "what was held goes with the connection")
	before := s.told.Load()
	s.point("alpha", work.Config.Host)
	s.Eventually(s.state(alpha)).Should(Equal(work.Config.Host))
	s.Eventually(s.told.Load).Should(BeNumerically(">", before))
}

func TestClustersThatHangHoldNobodyUp(t *testing.T) {
	s := begin(t, Options{Connectors: 1})
	url := silent(t)
	hung := make([]*clusterv1.Cluster, 0, 5)
	for i := range cap(hung) {
		hung = append(hung, s.cluster(fmt.Sprintf("hung-%d", i), url))
	}
	alpha := s.cluster("alpha", work.Config.Host)
	s.Eventually(s.state(alpha), 15*time.Second).Should(Equal(work.Config.Host))
	for _, c := range hung {
		s.Eventually(s.state(c)).Should(Equal(v1alpha1.ReasonUnreachable))
	}
}

func TestAClusterThatIsDeletedIsLetGo(t *testing.T) {
	s := begin(t, Options{})
	alpha := s.cluster("alpha", work.Config.Host)
	s.Eventually(s.state(alpha)).Should(Equal(work.Config.Host))
	conn, err := s.fleet.Connect(t.Context(), alpha)
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(hub.Client.Delete(t.Context(), alpha)).To(Succeed())
	s.Eventually(s.state(alpha)).Should(Equal(v1alpha1.ReasonConnecting))
	s.Eventually(func() error {
		return conn.Cached.Get(t.Context(), client.ObjectKey{Name: "default"}, &corev1.Namespace{})
	}).Should(MatchError(errEnded))
}
