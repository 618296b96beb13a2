// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/fairlead-io/fairlead/internal/version"
)

const (
	// probeInterval is the time between two probes of a connected cluster, probeTimeout how
	// long it may take to answer one.
	probeInterval = 10 * time.Second
	probeTimeout  = 5 * time.Second
	// failuresToTell are the probes in a row that a cluster fails to count as away: one is
	// noise, two mean that requests would only hang. After failuresToGiveUp its connection is
	// made anew.
	failuresToTell   = 2
	failuresToGiveUp = 5
	// callTimeout bounds the requests that callers make.
	callTimeout = 10 * time.Second
	// slotTime is how long a connection that is being made keeps others from being made.
	slotTime = time.Second
	// qps and burst bound the requests to one cluster.
	qps   = 50
	burst = 100
)

// link is the way to one cluster. A goroutine of its own connects it and probes it, so that
// a cluster that takes connections and never answers holds up nobody else.
type link struct {
	fleet *Fleet
	key   client.ObjectKey
	end   context.CancelFunc
	// again ends the pause before the next look.
	again chan struct{}

	mu         sync.Mutex
	connection *connection
	// failures are the probes, or attempts to connect, that failed in a row.
	failures int
}

// connection is what there is for one connection.
type connection struct {
	// kubeconfig is the digest of what the connection was made by.
	kubeconfig [sha256.Size]byte

	config *rest.Config
	probe  *rest.RESTClient
	live   client.Client
	mirror *mirror
}

// state is the connection, if there is one, and how often the cluster did not answer.
func (l *link) state() (*connection, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.connection, l.failures
}

// run keeps a cluster connected until ctx ends.
func (l *link) run(ctx context.Context) {
	for ctx.Err() == nil {
		pause := l.look(ctx)
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-l.again:
		}
		t.Stop()
	}
	l.lose()
}

// look connects, or probes, and returns when to do so again.
func (l *link) look(ctx context.Context) time.Duration {
	c, _ := l.state()
	if c == nil {
		return l.connect(ctx)
	}
	err := c.ask(ctx)
	if ctx.Err() != nil {
		return 0
	}
	l.mu.Lock()
	before := l.failures
	failures := l.count(err)
	l.mu.Unlock()
	switch {
	case apierrors.IsUnauthorized(err), failures >= failuresToGiveUp:
		// Credentials that are refused were often replaced meanwhile.
		l.fleet.log.Info("Disconnected", "cluster", l.key.String(), "failures", failures)
		l.lose()
		l.fleet.tell(l.key)
		if apierrors.IsUnauthorized(err) {
			return time.Millisecond
		}
		return l.fleet.retry
	case failures == failuresToTell, failures == 0 && before >= failuresToTell:
		l.fleet.tell(l.key)
	}
	// Those of a thousand clusters must not be probed in step.
	return probeInterval*9/10 + rand.N(probeInterval/10) //nolint:gosec // no secret
}

// count takes note of an answer, or that there was none, and returns how many failures there are
// in a row. The caller holds mu.
func (l *link) count(err error) int {
	if err == nil {
		l.failures = 0
	} else {
		l.failures++
	}
	return l.failures
}

// connect makes a connection.
func (l *link) connect(ctx context.Context) time.Duration {
	free, err := l.fleet.slot(ctx)
	if err != nil {
		return 0
	}
	c, err := l.fleet.dial(ctx, l.key)
	free()
	if ctx.Err() != nil {
		return 0
	}
	l.mu.Lock()
	l.connection = c
	failures := l.count(err)
	l.mu.Unlock()
	if err != nil {
		l.fleet.log.V(1).Info("Connecting failed", "cluster", l.key.String(), "failures", failures, "error", err.Error())
		if failures == 1 {
			l.fleet.tell(l.key)
		}
		return l.fleet.retry
	}
	l.fleet.log.Info("Connected", "cluster", l.key.String())
	l.fleet.tell(l.key)
	return probeInterval
}

// lose ends the connection.
func (l *link) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.connection != nil {
		l.connection.mirror.end()
		l.connection = nil
	}
}

// renew gives a connection up, and has the next one made at once: another kubeconfig has taken
// the place of its own, or its API server has begun anew.
func (l *link) renew(of *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.connection != of {
		return
	}
	of.mirror.end()
	l.connection, l.failures = nil, 0
	l.lookNow()
}

// hurry ends the pause before the next attempt to connect.
func (l *link) hurry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.connection == nil {
		l.lookNow()
	}
}

// lookNow ends the pause before the next look.
func (l *link) lookNow() {
	select {
	case l.again <- struct{}{}:
	default:
	}
}

// slot waits until a connection may be made. One that takes long gives its slot to others.
func (f *Fleet) slot(ctx context.Context) (free func(), err error) {
	select {
	case f.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	once := sync.OnceFunc(func() { <-f.slots })
	t := time.AfterFunc(slotTime, once)
	return func() { t.Stop(); once() }, nil
}

// dial connects to a cluster, which must answer. Its error holds nothing of the kubeconfig.
func (f *Fleet) dial(ctx context.Context, key client.ObjectKey) (*connection, error) {
	raw, _, err := f.kubeconfig(ctx, key)
	if err != nil {
		return nil, err
	}
	cfg, err := clientcmd.RESTConfigFromKubeConfig(raw)
	if err != nil {
		return nil, errors.New("the kubeconfig is not usable")
	}
	cfg.UserAgent, cfg.Timeout, cfg.QPS, cfg.Burst = "fairlead-operator/"+version.Version, callTimeout, qps, burst
	h, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	c := &connection{config: cfg, kubeconfig: sha256.Sum256(raw)}
	if c.probe, err = f.prober(cfg, h); err != nil {
		return nil, err
	}
	if err := c.ask(ctx); err != nil {
		return nil, err
	}
	others, err := apiutil.NewDynamicRESTMapper(cfg, h)
	if err != nil {
		return nil, err
	}
	if c.live, err = client.New(cfg, client.Options{Scheme: f.scheme, HTTPClient: h, Mapper: mapper(others)}); err != nil {
		return nil, err
	}
	w, err := newWire(cfg, f.codecs)
	if err != nil {
		return nil, err
	}
	c.mirror = &mirror{wire: w, scheme: f.scheme, cached: f.cached, kinds: map[kindKey]*kind{}}
	c.mirror.ctx, c.mirror.end = context.WithCancel(f.ctx)
	return c, nil
}

// prober is a client that asks for no object.
func (f *Fleet) prober(cfg *rest.Config, h *http.Client) (*rest.RESTClient, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.NegotiatedSerializer = f.codecs.partial.WithoutConversion()
	return rest.UnversionedRESTClientForConfigAndClient(cfg, h)
}

// ask asks whether the API server answers.
func (c *connection) ask(ctx context.Context) error {
	_, err := c.probe.Get().AbsPath("/").Timeout(probeTimeout).DoRaw(ctx)
	return err
}
