// SPDX-License-Identifier: Apache-2.0

// Package nodenetwork reports each node as a NodeNetwork. It owns those objects and
// which replica writes them; what an agent holds it learns from internal/serve, what
// is wrong with a Node from internal/model.
package nodenetwork

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/serve"
)

const (
	// coalesce is how long a change waits for the acknowledgement that usually
	// follows it at once.
	coalesce = 20 * time.Millisecond
	// writeInterval is the least time between two writes of one node's status.
	writeInterval = time.Second
	// defaultGrace is what agents get to come back (to another replica, or to this
	// one after its restart) before they are reported as lost. They need about a second.
	defaultGrace = 5 * time.Second
)

// Config is what a Reconciler is made of.
type Config struct {
	// Client reads from a cache and writes to the API server.
	Client client.Client
	// Self is this replica's pod; Namespace that of all replicas.
	Self, Namespace string
	// IsController tells the replicas' pods from others.
	IsController func(client.Object) bool
	// Services says that the cluster's agents balance Services.
	Services bool
	// Grace is what agents get to come back before they are reported as lost (5 s).
	Grace time.Duration
}

// Reconciler keeps the NodeNetworks. It is an Observer of the xDS server.
type Reconciler struct {
	Config

	mu      sync.Mutex
	queue   workqueue.TypedRateLimitingInterface[reconcile.Request]
	local   map[string]serve.NodeStatus
	model   *model.Nodes
	started time.Time // when this replica began to serve; zero before
	written map[string]time.Time
	doubts  map[string]doubt
	stopped bool
}

// doubt is about the replica that a node names as servedBy.
type doubt struct {
	servedBy string
	since    time.Time
	// marked: this replica has reported it as gone. If servedBy contradicts, it
	// lives, whatever its pod's condition says, and there is no second report.
	marked bool
}

// New makes a Reconciler.
func New(cfg Config) *Reconciler {
	if cfg.Grace <= 0 {
		cfg.Grace = defaultGrace
	}
	return &Reconciler{
		Config: cfg, local: map[string]serve.NodeStatus{}, written: map[string]time.Time{}, doubts: map[string]doubt{},
	}
}

// Observe implements serve.Observer.
func (r *Reconciler) Observe(s serve.NodeStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return
	}
	r.local[s.Node] = s
	r.enqueue(s.Node)
}

// SetModel takes the latest model of the nodes.
func (r *Reconciler) SetModel(m model.Nodes) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.model
	r.model = &m
	for node := range m.Local {
		if old == nil || !slices.Equal(old.PodCIDRs[node], m.PodCIDRs[node]) ||
			!slices.Equal(old.Findings[node], m.Findings[node]) || !slices.Equal(old.Findings[""], m.Findings[""]) {
			r.enqueue(node)
		}
	}
}

// Serving says that this replica serves agents from now on.
func (r *Reconciler) Serving() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started = time.Now()
}

// Stop ends the taking of observations. A replica that stops sends its agents to
// another one, which reports them; only if none does are they lost.
func (r *Reconciler) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
}

// enqueue needs the lock. Before the queue runs there is no need: starting
// reconciles every node.
func (r *Reconciler) enqueue(node string) {
	if r.queue != nil {
		r.queue.AddAfter(request(node), coalesce)
	}
}

func request(node string) reconcile.Request {
	var req reconcile.Request
	req.Name = node
	return req
}

// Reconcile reports one node.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var node corev1.Node
	if err := r.Client.Get(ctx, client.ObjectKey{Name: req.Name}, &node); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.Name)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	nn, err := r.ensure(ctx, &node)
	if err != nil || nn == nil {
		return ignoreRace(err)
	}
	f, again, err := r.facts(ctx, nn)
	if err != nil {
		return reconcile.Result{}, err
	}
	status := next(nn.Status, f)
	if equality.Semantic.DeepEqual(status, nn.Status) {
		return reconcile.Result{RequeueAfter: again}, nil
	}
	if wait := r.throttle(req.Name, f.now); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	nn.Status = status
	if err := r.Client.Status().Update(ctx, nn); err != nil { // fails if another replica was faster
		return ignoreRace(err)
	}
	r.wrote(req.Name, f)
	return reconcile.Result{RequeueAfter: again}, nil
}

// ignoreRace makes nothing of losing to another replica: the winner's write
// arrives by the cache and brings the node back here.
func ignoreRace(err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
		return reconcile.Result{RequeueAfter: writeInterval}, nil
	}
	return reconcile.Result{}, err
}

// ensure returns the node's NodeNetwork, made if it is missing; nil if it still
// belongs to an earlier Node of the name and has to be waited for.
func (r *Reconciler) ensure(ctx context.Context, node *corev1.Node) (*v1alpha1.NodeNetwork, error) {
	nn := &v1alpha1.NodeNetwork{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: node.Name}, nn)
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}
	if apierrors.IsNotFound(err) {
		nn.ObjectMeta = metav1.ObjectMeta{
			Name:            node.Name,
			Labels:          map[string]string{"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/managed-by": "fairlead-controller"},
			OwnerReferences: []metav1.OwnerReference{owner},
		}
		return nn, r.Client.Create(ctx, nn)
	}
	if err != nil {
		return nil, err
	}
	if nn.DeletionTimestamp != nil {
		return nil, nil
	}
	if len(nn.OwnerReferences) != 1 || nn.OwnerReferences[0].UID != node.UID {
		nn.OwnerReferences = []metav1.OwnerReference{owner}
		return nn, r.Client.Update(ctx, nn)
	}
	return nn, nil
}

// facts gathers what the decision needs, and when to look again by the clock.
func (r *Reconciler) facts(ctx context.Context, nn *v1alpha1.NodeNetwork) (facts, time.Duration, error) {
	alive, err := r.alive(ctx, nn.Status.ServedBy)
	if err != nil {
		return facts{}, 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := facts{self: r.Self, now: time.Now(), services: r.Services}
	if s, ok := r.local[nn.Name]; ok {
		f.local = &s
	}
	if r.model != nil {
		_, f.hasModel = r.model.Local[nn.Name]
		f.podCIDRs = r.model.PodCIDRs[nn.Name]
		f.findings = slices.Concat(r.model.Findings[nn.Name], r.model.Findings[""])
	}
	wait := r.settle(&f)
	if w := r.doubt(nn, alive, &f); w > 0 && (wait == 0 || w < wait) {
		wait = w
	}
	return f, wait, nil
}

// settle says whether agents had the time to come back to this replica. It needs the lock.
func (r *Reconciler) settle(f *facts) (wait time.Duration) {
	if r.started.IsZero() {
		return time.Second
	}
	if wait = r.Grace - f.now.Sub(r.started); wait > 0 {
		return wait
	}
	f.settled = true
	return 0
}

// doubt decides whether the replica in servedBy counts as gone. It needs the lock.
func (r *Reconciler) doubt(nn *v1alpha1.NodeNetwork, alive bool, f *facts) (wait time.Duration) {
	if alive {
		delete(r.doubts, nn.Name)
		return 0
	}
	d, ok := r.doubts[nn.Name]
	if !ok || d.servedBy != nn.Status.ServedBy {
		d = doubt{servedBy: nn.Status.ServedBy, since: f.now}
		r.doubts[nn.Name] = d
	}
	if wait = r.Grace - f.now.Sub(d.since); wait > 0 {
		return wait
	}
	f.servedByGone = !d.marked || !connected(nn)
	return 0
}

func connected(nn *v1alpha1.NodeNetwork) bool {
	for _, c := range nn.Status.Conditions {
		if c.Type == v1alpha1.ConditionConnected {
			return c.Status == metav1.ConditionTrue
		}
	}
	return false
}

// alive says whether a replica can be trusted to report: it is this one, or its pod is ready.
func (r *Reconciler) alive(ctx context.Context, pod string) (bool, error) {
	if pod == "" || pod == r.Self {
		return true, nil
	}
	var p corev1.Pod
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: pod}, &p); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return podReady(&p), nil
}

// throttle says how long a write of the node has to wait.
func (r *Reconciler) throttle(node string, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, writeInterval-now.Sub(r.written[node]))
}

func (r *Reconciler) wrote(node string, f facts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written[node] = f.now
	if d, ok := r.doubts[node]; ok && f.servedByGone {
		d.marked = true
		r.doubts[node] = d
	}
}

// forget drops what is kept of a node that does not exist, unless its agent is
// still connected.
func (r *Reconciler) forget(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.written, node)
	delete(r.doubts, node)
	if s, ok := r.local[node]; ok && !s.Connected {
		delete(r.local, node)
	}
}

// nodes are the names of the NodeNetworks that a replica serves.
func (r *Reconciler) servedBy(ctx context.Context, pod string) []reconcile.Request {
	var list v1alpha1.NodeNetworkList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil // a cache that is ending
	}
	names := map[string]struct{}{}
	for i := range list.Items {
		if list.Items[i].Status.ServedBy == pod {
			names[list.Items[i].Name] = struct{}{}
		}
	}
	var out []reconcile.Request
	for _, name := range slices.Sorted(maps.Keys(names)) {
		out = append(out, request(name))
	}
	return out
}

func podReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
