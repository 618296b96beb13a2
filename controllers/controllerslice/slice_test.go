// SPDX-License-Identifier: Apache-2.0

package controllerslice

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func controller(name string, ready bool, hostIPs ...string) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "fairlead-system"}}
	if len(hostIPs) > 0 {
		p.Status.HostIP = hostIPs[0]
	}
	for _, ip := range hostIPs {
		p.Status.HostIPs = append(p.Status.HostIPs, corev1.HostIP{IP: ip})
	}
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
	return p
}

func TestDesired(t *testing.T) {
	ending := controller("c", true, "10.0.0.3")
	ending.DeletionTimestamp = &metav1.Time{}
	for _, c := range []struct {
		name   string
		pods   []corev1.Pod
		family discoveryv1.AddressType
		want   string
	}{
		{"two, in any order", []corev1.Pod{controller("b", true, "10.0.0.2"), controller("a", true, "10.0.0.1")}, discoveryv1.AddressTypeIPv4, "[10.0.0.1 10.0.0.2]"},
		{"one is not ready", []corev1.Pod{controller("a", false, "10.0.0.1"), controller("b", true, "10.0.0.2")}, discoveryv1.AddressTypeIPv4, "[10.0.0.2]"},
		{"one is ending", []corev1.Pod{controller("a", true, "10.0.0.1"), ending}, discoveryv1.AddressTypeIPv4, "[10.0.0.1]"},
		{"IPv6 only", []corev1.Pod{controller("a", true, "fd00::1")}, discoveryv1.AddressTypeIPv6, "[fd00::1]"},
		{"dual stack, the first one's first family", []corev1.Pod{controller("a", true, "fd00::1", "10.0.0.1"), controller("b", true, "10.0.0.2", "fd00::2")}, discoveryv1.AddressTypeIPv6, "[fd00::1 fd00::2]"},
		{"one without an address yet", []corev1.Pod{controller("a", true), controller("b", true, "10.0.0.2")}, discoveryv1.AddressTypeIPv4, "[10.0.0.2]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Desired("fairlead-system", 9440, c.pods)
			slices.Reverse(c.pods)
			if again := Desired("fairlead-system", 9440, c.pods); !same(got, again) || !same(again, got) {
				t.Error("the order of the pods matters")
			}
			var addresses []string
			for _, e := range got.Endpoints {
				addresses = append(addresses, e.Addresses...)
			}
			if fmt.Sprint(addresses) != c.want || got.AddressType != c.family || *got.Ports[0].Name != "xds" || *got.Ports[0].Port != 9440 {
				t.Errorf("%s %v, ports %+v", got.AddressType, addresses, got.Ports)
			}
		})
	}
	if got := Desired("fairlead-system", 9440, []corev1.Pod{controller("a", false, "10.0.0.1")}); got != nil {
		t.Errorf("with none ready the slice would be %+v", got)
	}
}
