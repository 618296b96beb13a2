// SPDX-License-Identifier: Apache-2.0

package sync_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/enroll"
	"github.com/fairlead-io/fairlead/internal/enroll/enrolltest"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/trust"
	"github.com/fairlead-io/fairlead/internal/trust/revocation"
)

// operator gives the cluster its trust as the real one does: by trust.Next, the
// ConfigMap before the Secret, and every kubelet brings it to its pods in its own time.
type operator struct {
	t    *testing.T
	root *trust.Root
	held trust.Held
	now  time.Time
	// controllers and nodes are the volumes of their pods.
	controllers, nodes []*enrolltest.Volume
}

func newOperator(t *testing.T, controllers, nodes int) *operator {
	o := &operator{t: t, now: time.Now()}
	o.newRoot()
	o.decide()
	for range controllers {
		o.controllers = append(o.controllers, enrolltest.NewVolume(t))
	}
	for range nodes {
		o.nodes = append(o.nodes, enrolltest.NewVolume(t))
	}
	o.distribute(func() {})
	return o
}

// newRoot replaces the root.
func (o *operator) newRoot() {
	a, err := trust.NewRoot("fleet/lab", time.Now())
	if err != nil {
		o.t.Fatal(err)
	}
	former := o.root
	o.root = &trust.Root{Authority: a, Bundle: []*x509.Certificate{a.Certificate}}
	if former != nil {
		o.root.Bundle, o.root.Revoked = append(o.root.Bundle, former.Bundle...), former.Revoked
	}
}

// decide lets the operator decide what the cluster shall hold, and returns it.
func (o *operator) decide() *trust.Cluster {
	o.t.Helper()
	next, err := trust.Next("fleet/"+clusterName, o.root, o.held, o.now)
	if err != nil {
		o.t.Fatal(err)
	}
	o.held = trust.Held{CA: next.CA, Bundle: next.Bundle, Revoked: next.Revoked, Root: next.Root, RootSince: next.RootSince}
	return next
}

// revoke lists the CA that the cluster holds; the operator makes no new one yet.
func (o *operator) revoke() {
	o.t.Helper()
	ca, err := trust.ParseAuthority(o.held.CA)
	if err != nil {
		o.t.Fatal(err)
	}
	o.root.Revoked, err = o.root.Revoked.With(o.now, revocation.Entry{
		Fingerprint: revocation.Of(ca.Certificate), NotAfter: ca.Certificate.NotAfter, Cluster: "fleet/" + clusterName,
	})
	if err != nil {
		o.t.Fatal(err)
	}
	o.held.Revoked = o.root.Revoked.Encode()
}

// distribute brings what the cluster holds to all pods, in any order, and does something
// after each.
func (o *operator) distribute(after func()) {
	o.t.Helper()
	var steps []func()
	for _, v := range o.controllers {
		steps = append(steps, func() { o.toController(v) })
	}
	for _, v := range o.nodes {
		steps = append(steps, func() { o.toNode(v) })
	}
	rand.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, step := range steps {
		step()
		after()
	}
}

func (o *operator) toController(v *enrolltest.Volume) {
	o.t.Helper()
	v.Project(o.t, map[string][]byte{
		"tls.crt": o.held.CA["tls.crt"], "tls.key": o.held.CA["tls.key"], "ca.crt": o.held.CA["ca.crt"], "revoked": o.held.Revoked,
	})
}

func (o *operator) toNode(v *enrolltest.Volume) {
	o.t.Helper()
	v.Project(o.t, map[string][]byte{"ca.crt": o.held.Bundle, "revoked": o.held.Revoked})
}

// tally counts a server's handshakes.
type tally struct {
	credentials.TransportCredentials
	done, failed *atomic.Int64
}

func (c *tally) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		c.failed.Add(1)
	} else {
		c.done.Add(1)
	}
	return conn, info, err
}

func (c *tally) Clone() credentials.TransportCredentials { return c }

// faults remembers what a log says of trouble.
type faults struct {
	slog.Handler
	mu   stdsync.Mutex
	said []string
}

func newFaults() *faults { return &faults{Handler: slog.DiscardHandler} }

func (f *faults) Enabled(context.Context, slog.Level) bool { return true }

func (f *faults) WithAttrs([]slog.Attr) slog.Handler { return f }

func (f *faults) Handle(_ context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn && !strings.Contains(r.Message, "ended") {
		return nil
	}
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += fmt.Sprintf(" %s=%v", a.Key, a.Value); return true })
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, text)
	return nil
}

// check fails the test with the first few faults.
func (f *faults) check(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.said) > 0 {
		t.Errorf("%d faults, the first of them: %s", len(f.said), strings.Join(f.said[:min(3, len(f.said))], "; "))
	}
}

// replica is a controller with a volume of its own.
func (c *cluster) replica(v *enrolltest.Volume, done, failed *atomic.Int64, log *slog.Logger) *controller {
	c.t.Helper()
	authority, err := enroll.NewAuthority(v.Dir, clusterName, log)
	if err != nil {
		c.t.Fatal(err)
	}
	r := c.serve(authority, &tally{authority.Credentials(), done, failed}, clusterName, "127.0.0.1:0", serve.Options{}, log)
	r.fill(peer(c.t, "n2", "10.0.2.0/24"))
	return r
}

// configOf is the configuration of a node's agent with a volume.
func configOf(t *testing.T, name string, trust *enrolltest.Volume, log *slog.Logger) sync.Config {
	t.Helper()
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	write(t, token, []byte("token of "+name))
	return sync.Config{
		NodeName: name, ClusterName: clusterName, AgentVersion: "v1", StateDir: filepath.Join(dir, "state"),
		TokenFile: token, RootsFile: filepath.Join(trust.Dir, "ca.crt"), Log: log,
		MaxRetry: 300 * time.Millisecond, SaveInterval: time.Millisecond, RevokedInterval: 50 * time.Millisecond,
	}
}

// start runs a client until stop.
func start(t *testing.T, cfg sync.Config, n *node, addresses ...string) (client *sync.Client, stop func()) {
	client, err := sync.New(cfg, n)
	if err != nil {
		t.Error(err)
		return nil, func() {}
	}
	if _, err := client.Load(); err != nil {
		t.Error(err)
	}
	client.SetAddresses(addresses)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx) }()
	return client, stdsync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
}
