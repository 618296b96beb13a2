// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/matrix"
)

const (
	// PolicedNamespace is where pods run that network policies are about.
	PolicedNamespace = "fairlead-policed"
	// MainPort and SidePort are where each of them serves, by UDP and TCP.
	MainPort, SidePort = 7900, 7910
	// MainUDP and MainTCP are MainPort's names.
	MainUDP, MainTCP = "main", "main-tcp"
)

// PolicedPod is a pod that answers package reach at MainPort and SidePort, and is ready, and goes on
// living, as long as the kubelet can connect to it.
func PolicedPod(name, node string, labels map[string]string) *corev1.Pod {
	grace := int64(0)
	probe := &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 2}
	probe.TCPSocket = &corev1.TCPSocketAction{}
	probe.TCPSocket.Port.IntVal = MainPort
	all := map[string]string{"pod": name}
	for k, v := range labels {
		all[k] = v
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: PolicedNamespace, Name: name, Labels: all},
		Spec: corev1.PodSpec{
			NodeName: node, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "reach", Image: matrix.Image, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"/probe", "reach-server", strconv.Itoa(MainPort), strconv.Itoa(SidePort)},
				Ports: []corev1.ContainerPort{
					{Name: MainUDP, ContainerPort: MainPort, Protocol: corev1.ProtocolUDP},
					{Name: MainTCP, ContainerPort: MainPort, Protocol: corev1.ProtocolTCP},
				},
				ReadinessProbe: probe, LivenessProbe: probe.DeepCopy(),
			}},
		},
	}
}

// DeployPoliced creates pods, and their namespaces, and waits until all are ready.
func (l *Lab) DeployPoliced(ctx context.Context, cluster string, pods ...*corev1.Pod) (map[string]Pod, error) {
	c, err := l.Client(cluster)
	if err != nil {
		return nil, err
	}
	for _, p := range pods {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.Namespace}}
		for _, o := range []client.Object{ns, p} {
			if err := c.Create(ctx, o); err != nil && !apierrors.IsAlreadyExists(err) {
				return nil, fmt.Errorf("%s: %w", cluster, err)
			}
		}
	}
	out := map[string]Pod{}
	for _, p := range pods {
		if out[p.Name], err = AwaitPod(ctx, c, p.Namespace, p.Name); err != nil {
			return nil, fmt.Errorf("%s: %w", cluster, err)
		}
	}
	return out, nil
}

// AwaitPod waits until a pod is ready.
func AwaitPod(ctx context.Context, c client.Client, namespace, name string) (Pod, error) {
	var pod corev1.Pod
	last := "it does not exist"
	err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &pod); err != nil {
			last = err.Error()
			return false, nil
		}
		last = fmt.Sprintf("it is %s: %+v", pod.Status.Phase, pod.Status.Conditions)
		return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}), nil
	})
	if err != nil {
		return Pod{}, fmt.Errorf("pod %s/%s is not ready: %s: %w", namespace, name, last, err)
	}
	out := Pod{Name: name, Node: pod.Spec.NodeName}
	for _, ip := range pod.Status.PodIPs {
		a, err := netip.ParseAddr(ip.IP)
		if err != nil {
			return Pod{}, err
		}
		out.Addresses = append(out.Addresses, a)
	}
	return out, nil
}

// RemoveNamespaces deletes namespaces and waits until they are gone.
func RemoveNamespaces(ctx context.Context, c client.Client, names ...string) error {
	for _, name := range names {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := c.Delete(ctx, ns); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	for _, name := range names {
		err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			return apierrors.IsNotFound(c.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{})), nil
		})
		if err != nil {
			return fmt.Errorf("namespace %s is still there: %w", name, err)
		}
	}
	return nil
}
