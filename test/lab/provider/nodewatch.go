// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/fairlead-io/fairlead/test/lab/fleet"
)

// nodeWatches tell of nodes that come, go or get pod ranges: a control plane has routes to them.
type nodeWatches struct {
	ctx    context.Context
	events chan event.GenericEvent

	mu      sync.Mutex
	running map[types.NamespacedName]context.CancelFunc
}

func newNodeWatches(ctx context.Context) *nodeWatches {
	return &nodeWatches{ctx: ctx, events: make(chan event.GenericEvent), running: map[types.NamespacedName]context.CancelFunc{}}
}

// ensure watches a control plane's nodes until end.
func (w *nodeWatches) ensure(controlPlane types.NamespacedName, kubeconfig string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running[controlPlane] != nil {
		return nil
	}
	config, err := fleet.RESTConfig(kubeconfig)
	if err != nil {
		return err
	}
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(w.ctx)
	nodes := cache.NewSharedInformer(cache.NewListWatchFromClient(api.CoreV1().RESTClient(), "nodes", "", fields.Everything()), &corev1.Node{}, 0)
	tell := func() { w.tell(ctx, controlPlane) }
	if _, err := nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { tell() },
		DeleteFunc: func(any) { tell() },
		UpdateFunc: func(old, now any) {
			if a, b := old.(*corev1.Node), now.(*corev1.Node); !slices.Equal(a.Spec.PodCIDRs, b.Spec.PodCIDRs) {
				tell()
			}
		},
	}); err != nil {
		cancel()
		return err
	}
	w.running[controlPlane] = cancel
	go nodes.RunWithContext(ctx)
	return nil
}

func (w *nodeWatches) tell(ctx context.Context, controlPlane types.NamespacedName) {
	o := &labControlPlane{ObjectMeta: metav1.ObjectMeta{Namespace: controlPlane.Namespace, Name: controlPlane.Name}}
	select {
	case w.events <- event.GenericEvent{Object: o}:
	case <-ctx.Done():
	}
}

func (w *nodeWatches) end(controlPlane types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cancel := w.running[controlPlane]; cancel != nil {
		cancel()
		delete(w.running, controlPlane)
	}
}
