// SPDX-License-Identifier: Apache-2.0

package sync_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/enroll"
	"github.com/fairlead-io/fairlead/internal/enroll/enrolltest"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

const (
	clusterName = "alpha"
	nodeName    = "n1"
	patience    = 15 * time.Second
	saUser      = "system:serviceaccount:fairlead-system:fairlead-agent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is what several controllers of one test have in common.
type cluster struct {
	t     *testing.T
	root  *enrolltest.Root
	caDir string
	// refuse, when set, is what the API server says of every token.
	refuse  atomic.Pointer[error]
	reviews atomic.Int32
	// littleRoom is what agents say of their maps.
	littleRoom atomic.Pointer[string]
	// also registers what else a controller serves; nil: nothing.
	also func(*grpc.Server)
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, root: enrolltest.NewRoot(t), caDir: t.TempDir()}
	c.root.WriteIntermediate(t, c.caDir)
	return c
}

// Review accepts the token "token of <node>".
func (c *cluster) Review(_ context.Context, token string) (enroll.Token, error) {
	c.reviews.Add(1)
	if err := c.refuse.Load(); err != nil {
		return enroll.Token{}, *err
	}
	node, ok := strings.CutPrefix(token, "token of ")
	if !ok {
		return enroll.Token{}, enroll.ErrTokenRefused
	}
	if node == "nobody" {
		node = "" // bound to no node
	}
	return enroll.Token{Username: saUser, Node: node}, nil
}

func (c *cluster) setRefusal(err error) {
	if err == nil {
		c.refuse.Store(nil)
		return
	}
	c.refuse.Store(&err)
}

// controller is one replica.
type controller struct {
	t        *testing.T
	store    *serve.Store
	server   *serve.Server
	registry *prometheus.Registry
	address  string
	kill     func() // as kill -9: connections break
}

func (c *cluster) controller(clusterName, address string) *controller {
	c.t.Helper()
	return c.controllerWith(clusterName, address, serve.Options{})
}

func (c *cluster) controllerWith(clusterName, address string, opts serve.Options) *controller {
	c.t.Helper()
	opts.RetryRefused = 50 * time.Millisecond
	log := slog.New(slog.DiscardHandler)
	authority, err := enroll.NewAuthority(c.caDir, clusterName, log)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.serve(authority, authority.Credentials(), clusterName, address, opts, log)
}

// serve is a replica with an authority, which it uses by way of creds.
func (c *cluster) serve(authority *enroll.Authority, creds credentials.TransportCredentials, clusterName, address string, opts serve.Options, log *slog.Logger) *controller {
	c.t.Helper()
	r := &controller{t: c.t, store: serve.NewStore(state.AgentTypes...), registry: prometheus.NewRegistry()}
	r.server = serve.NewServer(r.store, func(ctx context.Context) (serve.Peer, error) {
		node, err := enroll.NodeOf(ctx, clusterName)
		return serve.Peer{Node: node}, err
	}, nil, opts, r.registry, log)
	g := grpc.NewServer(serve.GRPCOptions(creds)...)
	r.server.Register(g)
	state.RegisterEnrollmentServer(g, enroll.NewService(authority, c, saUser, nil, log))
	if c.also != nil {
		c.also(g)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		c.t.Fatal(err)
	}
	r.address = l.Addr().String()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- r.server.Run(ctx, g, l, time.Second) }()
	var watching stdsync.WaitGroup
	watching.Go(func() { authority.Watch(ctx) })
	r.kill = stdsync.OnceFunc(func() {
		g.Stop()
		cancel()
		<-done
		watching.Wait()
	})
	c.t.Cleanup(r.kill)
	return r
}

// fill gives the replica the state of a cluster and opens it.
func (r *controller) fill(content ...state.Resource) {
	byType := map[string][]state.Resource{}
	for _, res := range content {
		byType[res.Type] = append(byType[res.Type], res)
	}
	for _, typeURL := range state.AgentTypes {
		scope := serve.Shared
		if typeURL == state.LocalNodeType || typeURL == state.EndpointType {
			scope = nodeName
		}
		r.store.Swap(scope, typeURL, byType[typeURL])
	}
	r.store.SetReady()
}

// sent is how many resources and removals the replica has sent.
func (r *controller) sent() int {
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	n := 0.0
	for _, f := range families {
		if f.GetName() == "fairlead_xds_resources_sent_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return int(n)
}

func (r *controller) subscribers() int { return len(r.server.Statuses()) }

func encode(t *testing.T, name string, m proto.Message) state.Resource {
	t.Helper()
	res, err := state.Encode(name, m)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func localNode(t *testing.T, cidr string) state.Resource {
	return encode(t, nodeName, &state.LocalNode{Name: nodeName, PodCidrs: []string{cidr}})
}

func peer(t *testing.T, name, cidr string) state.Resource {
	return encode(t, name, &state.PeerNode{Name: name, PodCidrs: []string{cidr}})
}

func endpoint(t *testing.T, name string) state.Resource {
	return encode(t, "default/"+name, &state.Endpoint{Namespace: "default", Name: name})
}

// node is a Handler that remembers, and refuses what refuse finds fault with.
type node struct {
	mu      stdsync.Mutex
	current sync.Update
	applies int
	refuse  func(sync.Update) error
	changed chan struct{}

	*balancer
	*enforcer
}

func newNode() *node {
	return &node{changed: make(chan struct{}, 1), balancer: newBalancer(), enforcer: newEnforcer()}
}

func (n *node) Apply(_ context.Context, u sync.Update) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.applies++
	if n.refuse != nil {
		if err := n.refuse(u); err != nil {
			return err
		}
	}
	n.current = u
	select {
	case n.changed <- struct{}{}:
	default:
	}
	return nil
}

func (n *node) get() (sync.Update, int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.current, n.applies
}

func (n *node) setRefuse(f func(sync.Update) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refuse = f
}

// agent is a running client.
type agent struct {
	t      *testing.T
	client *sync.Client
	node   *node
	stop   func()
}

func (c *cluster) config(dir string) sync.Config {
	c.t.Helper()
	roots, token := filepath.Join(dir, "roots.pem"), filepath.Join(dir, "token")
	write(c.t, roots, c.root.PEM())
	if _, err := os.Stat(token); errors.Is(err, os.ErrNotExist) {
		write(c.t, token, []byte("token of "+nodeName+"\n"))
	}
	return sync.Config{
		NodeName: nodeName, ClusterName: clusterName, AgentVersion: "v1", StateDir: filepath.Join(dir, "state"),
		TokenFile: token, RootsFile: roots,
		LittleRoom: func() string {
			if words := c.littleRoom.Load(); words != nil {
				return *words
			}
			return ""
		},
		MaxRetry: 300 * time.Millisecond, SaveInterval: time.Millisecond,
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// agent starts a client with the state in dir.
func (c *cluster) agent(dir string, n *node, addresses ...string) *agent {
	c.t.Helper()
	client, err := sync.New(c.config(dir), n)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := client.Load(); err != nil {
		c.t.Fatal(err)
	}
	client.SetAddresses(addresses)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx) }()
	a := &agent{t: c.t, client: client, node: n}
	a.stop = stdsync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("Run ended with %v", err)
		}
	})
	c.t.Cleanup(a.stop)
	return a
}

// until waits for a condition on the state in force.
func (a *agent) until(what string, ok func(sync.Update) bool) sync.Update {
	a.t.Helper()
	deadline := time.After(patience)
	for {
		u, _ := a.node.get()
		if ok(u) {
			return u
		}
		select {
		case <-a.node.changed:
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			a.t.Fatalf("the node never had %s; it has %+v, the client says %+v", what, u, a.client.Status())
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to this: %s", what)
		}
		time.Sleep(2 * time.Millisecond) // a poll, not a wait for luck
	}
}
