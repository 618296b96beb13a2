// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/matrix"
)

const (
	// LoadNamespace is where the pods of a load run.
	LoadNamespace = "fairlead-load"
	// LoadPort is where each of them serves.
	LoadPort = 7800

	loadService = "load"
	crowdName   = "crowd"
)

// Ends are the pods of a load, and the addresses of a Service in front of the second.
type Ends struct {
	// OneA and OneB are on the first node, TwoA and TwoB on the second.
	OneA, OneB, TwoA, TwoB Pod
	// Service has OneB as its only endpoint; IPv4 first.
	Service []netip.Addr
}

// DeployLoad creates the pods of a load on the cluster's first two nodes, each of which can
// be either end, and waits for them.
func (l *Lab) DeployLoad(ctx context.Context, cluster string) (Ends, error) {
	c, err := l.Client(cluster)
	if err != nil {
		return Ends{}, err
	}
	plan, err := l.Plan().Cluster(cluster)
	if err != nil {
		return Ends{}, err
	}
	if len(plan.Nodes) < 2 {
		return Ends{}, fmt.Errorf("%s has %d nodes, and a load is put on two: set LAB_NODES", cluster, len(plan.Nodes))
	}
	objects := []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: LoadNamespace}}, serviceOfLoad("one-b")}
	pods := map[string]string{"one-a": plan.Nodes[0].Name, "one-b": plan.Nodes[0].Name, "two-a": plan.Nodes[1].Name, "two-b": plan.Nodes[1].Name}
	for name, node := range pods {
		objects = append(objects, LoadPod(name, node))
	}
	for _, o := range objects {
		if err := c.Create(ctx, o); err != nil && !apierrors.IsAlreadyExists(err) {
			return Ends{}, fmt.Errorf("%s: %w", cluster, err)
		}
	}
	var ends Ends
	for name, to := range map[string]*Pod{"one-a": &ends.OneA, "one-b": &ends.OneB, "two-a": &ends.TwoA, "two-b": &ends.TwoB} {
		if *to, err = l.AwaitLoadPod(ctx, cluster, name); err != nil {
			return Ends{}, err
		}
	}
	var service corev1.Service
	if err := c.Get(ctx, client.ObjectKey{Namespace: LoadNamespace, Name: loadService}, &service); err != nil {
		return Ends{}, err
	}
	ends.Service, err = addresses(service.Spec.ClusterIPs)
	return ends, err
}

func serviceOfLoad(pod string) *corev1.Service {
	both := corev1.IPFamilyPolicyPreferDualStack
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: LoadNamespace, Name: loadService},
		Spec: corev1.ServiceSpec{
			IPFamilyPolicy: &both,
			Selector:       map[string]string{"pod": pod},
			Ports: []corev1.ServicePort{
				{Name: "tcp", Port: LoadPort, Protocol: corev1.ProtocolTCP},
				{Name: "udp", Port: LoadPort, Protocol: corev1.ProtocolUDP},
			},
		},
	}
}

// LoadPod is a pod that can be either end of a load.
func LoadPod(name, node string) *corev1.Pod {
	grace := int64(0)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: LoadNamespace, Name: name, Labels: map[string]string{"pod": name}},
		Spec: corev1.PodSpec{
			NodeName:                      node,
			TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "load", Image: matrix.Image, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"/probe", "load-server", strconv.Itoa(LoadPort)},
				// For a receive buffer beyond the system's limit.
				SecurityContext: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}}},
			}},
		},
	}
}

// AwaitLoadPod waits until a pod of LoadNamespace is ready.
func (l *Lab) AwaitLoadPod(ctx context.Context, cluster, name string) (Pod, error) {
	c, err := l.Client(cluster)
	if err != nil {
		return Pod{}, err
	}
	last := "it does not exist"
	var pod corev1.Pod
	err = wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		if err := c.Get(ctx, client.ObjectKey{Namespace: LoadNamespace, Name: name}, &pod); err != nil {
			last = err.Error()
			return false, nil
		}
		last = fmt.Sprintf("it is %s: %+v", pod.Status.Phase, pod.Status.Conditions)
		for _, cond := range pod.Status.Conditions {
			if cond.Type == corev1.PodReady && cond.Status == corev1.ConditionTrue {
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return Pod{}, fmt.Errorf("%s: pod %s/%s is not ready: %s: %w", cluster, LoadNamespace, name, last, err)
	}
	out := Pod{Name: name, Node: pod.Spec.NodeName}
	var ips []string
	for _, ip := range pod.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	out.Addresses, err = addresses(ips)
	return out, err
}

func addresses(texts []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, s := range texts {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	if len(out) != 2 {
		return nil, fmt.Errorf("addresses %v: want one of each family", texts)
	}
	return out, nil
}

// Crowd gives a node many pods that do nothing, and waits for them.
func (l *Lab) Crowd(ctx context.Context, cluster, node string, pods int32) error {
	c, err := l.Client(cluster)
	if err != nil {
		return err
	}
	pod := LoadPod(crowdName, node)
	crowd := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: LoadNamespace, Name: crowdName},
		Spec: appsv1.DeploymentSpec{
			Replicas: &pods,
			Selector: &metav1.LabelSelector{MatchLabels: pod.Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec},
		},
	}
	if err := c.Create(ctx, crowd); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return WaitDeployment(ctx, c, LoadNamespace, crowdName)
}

// RemoveLoad deletes the pods of loads and waits until they are gone.
func (l *Lab) RemoveLoad(ctx context.Context, cluster string) error {
	c, err := l.Client(cluster)
	if err != nil {
		return err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: LoadNamespace}}
	if err := c.Delete(ctx, ns); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	err = wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		return apierrors.IsNotFound(c.Get(ctx, client.ObjectKeyFromObject(ns), ns)), nil
	})
	if err != nil {
		return errors.Join(fmt.Errorf("%s: namespace %s is still there", cluster, LoadNamespace), err)
	}
	return nil
}
