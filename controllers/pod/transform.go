// SPDX-License-Identifier: Apache-2.0

package pod

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Transform returns a function that leaves of a Pod what the controllers need,
// before it enters the cache: a cluster has tens of thousands of them. Pods of
// namespace (the controllers' own) keep their Ready condition.
func Transform(namespace string) func(any) (any, error) {
	return func(obj any) (any, error) {
		p, ok := obj.(*corev1.Pod)
		if !ok {
			return obj, nil // a tombstone
		}
		out := &corev1.Pod{
			TypeMeta: p.TypeMeta,
			ObjectMeta: metav1.ObjectMeta{
				Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion,
				DeletionTimestamp: p.DeletionTimestamp, Labels: p.Labels,
			},
			Spec: corev1.PodSpec{
				NodeName: p.Spec.NodeName, HostNetwork: p.Spec.HostNetwork,
				Containers: namedPorts(p.Spec.Containers, false), InitContainers: namedPorts(p.Spec.InitContainers, true),
			},
			Status: corev1.PodStatus{
				Phase: p.Status.Phase, PodIP: p.Status.PodIP, PodIPs: p.Status.PodIPs,
			},
		}
		if uid, ok := p.Annotations[mirror]; ok {
			out.Annotations = map[string]string{mirror: uid}
		}
		if p.Namespace != namespace {
			return out, nil
		}
		out.Status.HostIP, out.Status.HostIPs = p.Status.HostIP, p.Status.HostIPs
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady {
				out.Status.Conditions = []corev1.PodCondition{c}
			}
		}
		return out, nil
	}
}
