// SPDX-License-Identifier: Apache-2.0

// Package trace explains what becomes of a connection of a pod: it finds the two ends, says
// what to ask which node's agent, and prints the answers.
//
// It asks the API server where pods are, and nobody for anything else.
package trace

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Target is an end of a connection as people name it.
type Target struct {
	// Namespace and Name of a pod, or an Address.
	Namespace, Name string
	Address         netip.Addr
	Port            uint16 // 0: none was named
}

// ParseTarget reads POD, NAMESPACE/POD or an address, each of them with or without :PORT.
func ParseTarget(text, namespace string) (Target, error) {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return Target{Address: ap.Addr().Unmap(), Port: ap.Port()}, nil
	}
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil {
		return Target{Address: a.Unmap()}, nil
	}
	t := Target{Namespace: namespace}
	name, port, hasPort := strings.Cut(text, ":")
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return t, fmt.Errorf("%q has port %q, want 1 to 65535", text, port)
		}
		t.Port = uint16(n)
	}
	if before, after, ok := strings.Cut(name, "/"); ok {
		t.Namespace, name = before, after
	}
	if t.Name = name; name == "" || t.Namespace == "" || strings.Contains(name, "/") {
		return t, fmt.Errorf("%q is neither a pod (POD, NAMESPACE/POD) nor an address (10.1.0.5, [fd00::5]:80)", text)
	}
	return t, nil
}

// End is an end of a connection.
type End struct {
	// Pod is "namespace/name"; empty: it is no pod of the cluster.
	Pod       string       `json:"pod,omitempty"`
	Node      string       `json:"node,omitempty"`
	Addresses []netip.Addr `json:"addresses"`
	// HostNetwork: the pod has its node's addresses, and no policies.
	HostNetwork bool `json:"hostNetwork,omitempty"`
}

// String is the end for people.
func (e End) String() string {
	switch {
	case e.Pod == "":
		return fmt.Sprint(e.Addresses[0])
	case e.HostNetwork:
		return fmt.Sprintf("pod %s (host network) on node %s", e.Pod, e.Node)
	}
	return fmt.Sprintf("pod %s on node %s", e.Pod, e.Node)
}

// policed says whether a node's agent has something to say of the end.
func (e End) policed() bool { return e.Pod != "" && !e.HostNetwork }

// Find finds an end.
func Find(ctx context.Context, client kubernetes.Interface, t Target) (End, error) {
	if t.Address.IsValid() {
		return findAddress(ctx, client, t.Address)
	}
	pod, err := client.CoreV1().Pods(t.Namespace).Get(ctx, t.Name, metav1.GetOptions{})
	if err != nil {
		return End{}, fmt.Errorf("pod %s/%s: %w", t.Namespace, t.Name, err)
	}
	e := endOf(pod)
	if len(e.Addresses) == 0 {
		return e, fmt.Errorf("pod %s has no address (it is %s); wait until it runs", e.Pod, pod.Status.Phase)
	}
	return e, nil
}

func endOf(pod *corev1.Pod) End {
	e := End{Pod: pod.Namespace + "/" + pod.Name, Node: pod.Spec.NodeName, HostNetwork: pod.Spec.HostNetwork}
	for _, ip := range pod.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			e.Addresses = append(e.Addresses, a.Unmap())
		}
	}
	return e
}

// findAddress is a pod that has an address, or the address alone.
func findAddress(ctx context.Context, client kubernetes.Interface, a netip.Addr) (End, error) {
	// The first address of a pod can be asked for, others cannot.
	for _, selector := range []string{"status.podIP=" + a.String(), "status.phase=Running"} {
		e, ok, err := findIn(ctx, client, selector, a)
		if err != nil {
			return End{}, fmt.Errorf("pods cannot be listed to find %s: %w", a, err)
		}
		if ok {
			return e, nil
		}
	}
	return End{Addresses: []netip.Addr{a}}, nil
}

// page is how many pods are listed at once.
const page = 500

// findIn looks for an address among the pods of a field selector.
func findIn(ctx context.Context, client kubernetes.Interface, selector string, a netip.Addr) (End, bool, error) {
	list := metav1.ListOptions{FieldSelector: selector, Limit: page}
	for {
		pods, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, list)
		if err != nil {
			return End{}, false, err
		}
		for i := range pods.Items {
			e := endOf(&pods.Items[i])
			if !e.HostNetwork && pods.Items[i].Status.Phase == corev1.PodRunning && slices.Contains(e.Addresses, a) {
				e.Addresses = []netip.Addr{a}
				return e, true, nil
			}
		}
		if list.Continue = pods.Continue; list.Continue == "" {
			return End{}, false, nil
		}
	}
}
