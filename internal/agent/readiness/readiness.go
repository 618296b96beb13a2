// SPDX-License-Identifier: Apache-2.0

// Package readiness knows how ready the node's own pods are while no controller tells: it
// asks the API server for them then, and at no other time. What to make of it for Services
// is package service's.
package readiness

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/fairlead-io/fairlead/internal/agent/kube"
	"github.com/fairlead-io/fairlead/internal/agent/service"
)

// Pods is how ready the pods of the node are, by their addresses.
type Pods map[netip.Addr]service.Readiness

// Config is what a Watcher needs to know.
type Config struct {
	// Kube is how to reach the API server.
	Kube *rest.Config
	// Node is the name of this agent's node.
	Node string
	// Connected says whether a controller tells everything.
	Connected func() bool
	// Set is called with all pods of the node at each change while none does, and with nil
	// when one does again. Calls never overlap.
	Set func(ctx context.Context, pods Pods)
	Log *slog.Logger

	// Patience is how long a controller is waited for (5 s): agents change over to another
	// one within a second, and must not all ask the API server then.
	Patience time.Duration
	// Settle is how long a controller must have been there before its word holds again
	// (2 s): it tells of changes first.
	Settle time.Duration
}

// poll is how often Connected is asked.
const poll = 500 * time.Millisecond

// Run watches until the context ends.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Patience <= 0 {
		cfg.Patience = 5 * time.Second
	}
	if cfg.Settle <= 0 {
		cfg.Settle = 2 * time.Second
	}
	for holds(ctx, cfg.Patience, func() bool { return !cfg.Connected() }) {
		cfg.Log.Info("no controller answers; the API server says from now on which pods of this node are ready")
		if err := cfg.watch(ctx); err != nil {
			return err
		}
	}
	return nil
}

// holds waits until something has been true for so long. It is false when the context ended.
func holds(ctx context.Context, long time.Duration, is func() bool) bool {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	since := time.Now()
	for {
		if !is() {
			since = time.Now()
		} else if time.Since(since) >= long {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
}

// watch tells of the node's pods until a controller is there again.
func (c Config) watch(ctx context.Context) error {
	client, err := kube.Client(c.Kube, corev1.SchemeGroupVersion, &corev1.Pod{}, &corev1.PodList{})
	if err != nil {
		return err
	}
	changed := make(chan struct{}, 1)
	touch := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(client, "pods", metav1.NamespaceAll, fields.OneTermEqualSelector("spec.nodeName", c.Node)),
		ObjectType:    &corev1.Pod{},
		Transform:     onlyReadiness,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { touch() }, UpdateFunc: func(any, any) { touch() }, DeleteFunc: func(any) { touch() },
		},
	})
	watching, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); kube.Run(watching, informer) }()
	go func() {
		if holds(watching, c.Settle, c.Connected) {
			c.Log.Info("a controller answers again; what it says of pods holds")
		}
		cancel()
	}()
	defer func() { cancel(); <-ended }()
	if !cache.WaitForCacheSync(watching.Done(), informer.HasSynced) {
		return nil
	}
	defer c.Set(ctx, nil)
	var told Pods
	for {
		if pods := podsOf(store.List()); told == nil || !maps.Equal(told, pods) {
			c.Set(ctx, pods)
			told = pods
		}
		select {
		case <-watching.Done():
			return nil
		case <-changed:
		}
	}
}

// onlyReadiness drops all of a pod that is not needed, its environment before all.
func onlyReadiness(obj any) (any, error) {
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	keep := &corev1.Pod{}
	keep.Namespace, keep.Name, keep.UID, keep.ResourceVersion = p.Namespace, p.Name, p.UID, p.ResourceVersion
	keep.DeletionTimestamp = p.DeletionTimestamp
	keep.Spec.HostNetwork = p.Spec.HostNetwork
	keep.Status.Phase, keep.Status.PodIPs = p.Status.Phase, p.Status.PodIPs
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			keep.Status.Conditions = []corev1.PodCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	return keep, nil
}

// podsOf says how ready pods are. Those of the host's network are left out, since they share
// its addresses.
func podsOf(list []any) Pods {
	out := Pods{}
	for _, obj := range list {
		p, ok := obj.(*corev1.Pod)
		if !ok || p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		r := service.Readiness{Terminating: p.DeletionTimestamp != nil}
		for _, c := range p.Status.Conditions {
			r.Serving = r.Serving || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}
		for _, ip := range p.Status.PodIPs {
			if a, err := netip.ParseAddr(ip.IP); err == nil {
				out[a.Unmap()] = r
			}
		}
	}
	return out
}
