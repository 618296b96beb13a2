// SPDX-License-Identifier: Apache-2.0

package addresspool

import (
	"context"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// enqueue asks for everything when an object comes, goes, or differs.
func enqueue(differs func(a, b client.Object) bool) handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, _ event.CreateEvent, q queue) { q.AddAfter(everything, coalesce) },
		DeleteFunc: func(_ context.Context, _ event.DeleteEvent, q queue) { q.AddAfter(everything, coalesce) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if differs(e.ObjectOld, e.ObjectNew) {
				q.AddAfter(everything, coalesce)
			}
		},
	}
}

// signal asks for everything when a channel has a value.
func signal(c <-chan struct{}) source.Source {
	return source.Func(func(ctx context.Context, q queue) error {
		go func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-c:
					q.Add(everything)
				}
			}
		}()
		return nil
	})
}
