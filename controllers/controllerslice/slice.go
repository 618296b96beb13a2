// SPDX-License-Identifier: Apache-2.0

package controllerslice

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Name is the name of the EndpointSlice, and PortName that of its port.
const (
	Name     = "fairlead-controller"
	PortName = "xds"
)

// Desired is the slice that names the ready ones of the controllers' pods; nil if
// none is ready, since the last known addresses are worth more than none. Every
// replica computes the same from the same pods.
//
// The slice has the family of the first host address of the first pod by name.
func Desired(namespace string, port int32, pods []corev1.Pod) *discoveryv1.EndpointSlice {
	pods = slices.Clone(pods)
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: Name,
			Labels: map[string]string{
				"app.kubernetes.io/name":      "fairlead",
				"app.kubernetes.io/component": "controller",
				discoveryv1.LabelManagedBy:    "fairlead-controller",
			},
		},
		Ports: []discoveryv1.EndpointPort{{Name: new(PortName), Port: &port, Protocol: new(corev1.ProtocolTCP)}},
	}
	for i := range pods {
		p := &pods[i]
		if !Ready(p) || p.DeletionTimestamp != nil {
			continue
		}
		address, family, ok := hostAddress(p, out.AddressType)
		if !ok {
			continue
		}
		out.AddressType = family
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{address},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
			NodeName:   new(p.Spec.NodeName),
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		})
	}
	if len(out.Endpoints) == 0 {
		return nil
	}
	return out
}

// Ready says whether the pod's Ready condition is True.
func Ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// hostAddress is the pod's first host address, of the family if one is given.
func hostAddress(p *corev1.Pod, family discoveryv1.AddressType) (string, discoveryv1.AddressType, bool) {
	ips := []string{p.Status.HostIP}
	for _, ip := range p.Status.HostIPs {
		ips = append(ips, ip.IP)
	}
	for _, ip := range ips {
		a, err := netip.ParseAddr(ip)
		if err != nil {
			continue
		}
		f := discoveryv1.AddressTypeIPv4
		if a.Is6() {
			f = discoveryv1.AddressTypeIPv6
		}
		if family == "" || family == f {
			return a.String(), f, true
		}
	}
	return "", "", false
}
