// SPDX-License-Identifier: Apache-2.0

package shared

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

const (
	// workers play at a time: what they do is nobody's figure, and must not be waited for.
	workers = 8
	// tries is how often a workload may fail to roll out before that is a fault: the kind of
	// NodeNetworks is served a little after its CRD is there.
	tries = 20
)

// player does in the real API server what clusters' controllers, kubelets and agents would:
// workloads roll out at once, and every node's agent says that it is in sync.
type player struct {
	client client.Client
	nodes  int
	queue  workqueue.TypedRateLimitingInterface[workload]

	mu     sync.Mutex
	faults []error
}

// workload is a DaemonSet or a Deployment.
type workload struct {
	client.ObjectKey
	daemon bool
}

// play creates the nodes and begins.
func play(ctx context.Context, real *rest.Config, clusters, nodes int) (*player, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	cfg := rest.CopyConfig(real)
	cfg.QPS = -1 // not bounded
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	p := &player{client: c, nodes: nodes, queue: workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[workload](20*time.Millisecond, time.Second))}
	for i := range clusters {
		for n := range nodes {
			if err := c.Create(ctx, &corev1.Node{ObjectMeta: p.node(Name(i), n)}); err != nil {
				return nil, fmt.Errorf("creating a node of cluster %s: %w", Name(i), err)
			}
		}
	}
	if err := p.follow(ctx, cfg, scheme); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, p.queue.ShutDown)
	for range workers {
		go p.work(ctx)
	}
	return p, nil
}

// node is the metadata of a node, and of its NodeNetwork.
func (p *player) node(cluster string, n int) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: fmt.Sprintf("n%d%s", n, view{cluster}.mark()), Labels: map[string]string{Label: cluster}}
}

// follow queues every workload that changes.
func (p *player) follow(ctx context.Context, cfg *rest.Config, scheme *runtime.Scheme) error {
	known, err := ctrlcache.New(cfg, ctrlcache.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	go known.Start(ctx) //nolint:errcheck // it ends with ctx
	for _, o := range []client.Object{&appsv1.DaemonSet{}, &appsv1.Deployment{}} {
		_, daemon := o.(*appsv1.DaemonSet)
		informer, err := known.GetInformer(ctx, o)
		if err != nil {
			return err
		}
		add := func(o any) {
			if m, ok := o.(client.Object); ok {
				p.queue.Add(workload{client.ObjectKeyFromObject(m), daemon})
			}
		}
		if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: add, UpdateFunc: func(_, now any) { add(now) }}); err != nil {
			return err
		}
	}
	return nil
}

func (p *player) work(ctx context.Context) {
	for {
		w, over := p.queue.Get()
		if over {
			return
		}
		err := p.rollOut(ctx, w)
		switch {
		case err == nil || ctx.Err() != nil:
			p.queue.Forget(w)
		case p.queue.NumRequeues(w) >= tries:
			p.mu.Lock()
			p.faults = append(p.faults, fmt.Errorf("rolling %s out: %w", w.ObjectKey, err))
			p.mu.Unlock()
		default:
			p.queue.AddRateLimited(w)
		}
		p.queue.Done(w)
	}
}

func (p *player) fault() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.faults...)
}

// rollOut has a workload's status say that all of it runs, and agents speak for their nodes
// before that.
func (p *player) rollOut(ctx context.Context, w workload) error {
	if !w.daemon {
		d := &appsv1.Deployment{}
		if err := p.client.Get(ctx, w.ObjectKey, d); err != nil || d.Status.ObservedGeneration == d.Generation {
			return client.IgnoreNotFound(err)
		}
		n := int32(1)
		if d.Spec.Replicas != nil {
			n = *d.Spec.Replicas
		}
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, AvailableReplicas: n, ReadyReplicas: n}
		return client.IgnoreNotFound(p.client.Status().Update(ctx, d))
	}
	d := &appsv1.DaemonSet{}
	if err := p.client.Get(ctx, w.ObjectKey, d); err != nil || d.Status.ObservedGeneration == d.Generation {
		return client.IgnoreNotFound(err)
	}
	if err := p.acknowledge(ctx, d); err != nil {
		return err
	}
	n := int32(p.nodes)
	d.Status = appsv1.DaemonSetStatus{ObservedGeneration: d.Generation, DesiredNumberScheduled: n, CurrentNumberScheduled: n,
		UpdatedNumberScheduled: n, NumberAvailable: n, NumberReady: n}
	return client.IgnoreNotFound(p.client.Status().Update(ctx, d))
}

// acknowledge has every node of the cluster that a DaemonSet is in report its agent.
func (p *player) acknowledge(ctx context.Context, d *appsv1.DaemonSet) error {
	_, cluster, ok := strings.Cut(d.Namespace, view{}.mark())
	if !ok || len(d.Spec.Template.Spec.Containers) == 0 {
		return nil
	}
	image := d.Spec.Template.Spec.Containers[0].Image
	version := image[strings.LastIndex(image, ":")+1:]
	for i := range p.nodes {
		n := &v1alpha1.NodeNetwork{ObjectMeta: p.node(cluster, i)}
		if err := p.client.Create(ctx, n); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		if err := p.client.Get(ctx, client.ObjectKey{Name: n.Name}, n); err != nil {
			return err
		}
		before := n.DeepCopy()
		n.Status.AgentVersion = version
		meta.SetStatusCondition(&n.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAcknowledged})
		if err := p.client.Status().Patch(ctx, n, client.MergeFrom(before)); err != nil {
			return err
		}
	}
	return nil
}
