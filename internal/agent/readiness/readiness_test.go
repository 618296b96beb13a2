// SPDX-License-Identifier: Apache-2.0

package readiness

import (
	"context"
	"maps"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func pod(ready corev1.ConditionStatus, change func(*corev1.Pod), addresses ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Env: []corev1.EnvVar{{Name: "PASSWORD", Value: "secret"}}}}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: ready}}
	for _, a := range addresses {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a})
	}
	if change != nil {
		change(p)
	}
	return p
}

// TestWhatIsReadOfPods: by all their addresses, with what matters and nothing else.
func TestWhatIsReadOfPods(t *testing.T) {
	deleted := metav1.NewTime(time.Unix(1, 0))
	var list []any
	for _, p := range []*corev1.Pod{
		pod(corev1.ConditionTrue, nil, "10.0.0.1", "fd00::1"),
		pod(corev1.ConditionFalse, nil, "10.0.0.2"),
		pod(corev1.ConditionTrue, func(p *corev1.Pod) { p.DeletionTimestamp = &deleted }, "10.0.0.3"),
		pod(corev1.ConditionTrue, func(p *corev1.Pod) { p.Spec.HostNetwork = true }, "192.0.2.1"),
		pod(corev1.ConditionFalse, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, "10.0.0.1"), // its address is another's
		pod(corev1.ConditionTrue, nil, "no address"),
		pod(corev1.ConditionTrue, nil),
	} {
		kept, err := onlyReadiness(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(kept.(*corev1.Pod).Spec.Containers) > 0 {
			t.Error("a pod's containers are kept")
		}
		list = append(list, kept)
	}
	at := netip.MustParseAddr
	want := Pods{
		at("10.0.0.1"): {Serving: true}, at("fd00::1"): {Serving: true}, at("10.0.0.2"): {}, at("10.0.0.3"): {Serving: true, Terminating: true},
	}
	if got := podsOf(list); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestHolds: what is true only now and then does not hold; it ends with its context.
func TestHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		is := func() bool { d := time.Since(began); return d < 3*time.Second || d > 4*time.Second }
		if !holds(t.Context(), 5*time.Second, is) {
			t.Error("it never held")
		}
		if d := time.Since(began); d < 9*time.Second || d > 10*time.Second {
			t.Errorf("it held after %v, want 5 s from when it was true again", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if holds(ctx, 5*time.Second, func() bool { return true }) {
			t.Error("it held for longer than there was time")
		}
	})
}
