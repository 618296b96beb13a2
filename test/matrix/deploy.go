// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"context"
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// Image is the probe's image; the lab's nodes hold it.
const Image = "fairlead.io/probe:dev"

// Namespace is where the probes run.
const Namespace = "fairlead-matrix"

const (
	podHTTP, podUDP   = 8080, 8081
	hostHTTP, hostUDP = 18080, 18081
	serviceName       = "probe"
)

// Deploy creates the probes, or leaves them as they are.
func Deploy(ctx context.Context, client kubernetes.Interface) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); ignoreExists(err) != nil {
		return err
	}
	for _, ds := range []*appsv1.DaemonSet{
		daemonSet("probe-a", false), daemonSet("probe-b", false), daemonSet("probe-host", true),
	} {
		if _, err := client.AppsV1().DaemonSets(Namespace).Create(ctx, ds, metav1.CreateOptions{}); ignoreExists(err) != nil {
			return err
		}
	}
	both := corev1.IPFamilyPolicyPreferDualStack
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: serviceName},
		Spec: corev1.ServiceSpec{
			IPFamilyPolicy: &both,
			Selector:       map[string]string{"probe": "pod"},
			Ports: []corev1.ServicePort{
				{Name: "http", Port: 80, TargetPort: intstr.FromInt32(podHTTP), Protocol: corev1.ProtocolTCP},
				{Name: "udp", Port: 81, TargetPort: intstr.FromInt32(podUDP), Protocol: corev1.ProtocolUDP},
			},
		},
	}
	_, err := client.CoreV1().Services(Namespace).Create(ctx, svc, metav1.CreateOptions{})
	return ignoreExists(err)
}

// Remove deletes the probes and waits until they are gone.
func Remove(ctx context.Context, client kubernetes.Interface) error {
	err := client.CoreV1().Namespaces().Delete(ctx, Namespace, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Namespaces().Get(ctx, Namespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}

// Wait waits until every probe is ready on every one of the nodes: a node that is
// not Ready is no node to a DaemonSet that is new. On the way it reports counts.
func Wait(ctx context.Context, client kubernetes.Interface, nodes int, progress func(ready, wanted int)) error {
	var last string
	err := wait.PollUntilContextCancel(ctx, 300*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		list, err := client.AppsV1().DaemonSets(Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			last = err.Error()
			return false, nil
		}
		ready, wanted := 0, 0
		observed := len(list.Items) == 3
		for _, ds := range list.Items {
			ready += int(ds.Status.NumberReady)
			wanted += nodes
			observed = observed && ds.Status.ObservedGeneration == ds.Generation
		}
		last = fmt.Sprintf("%d of %d probes are ready", ready, wanted)
		progress(ready, wanted)
		return observed && ready == wanted, nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", last, err)
	}
	return nil
}

func daemonSet(name string, host bool) *appsv1.DaemonSet {
	http, udp, kind := podHTTP, podUDP, "pod"
	if host {
		http, udp, kind = hostHTTP, hostUDP, "host"
	}
	labels := map[string]string{"app": name, "probe": kind}
	grace := int64(0)
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					HostNetwork:                   host,
					TerminationGracePeriodSeconds: &grace,
					Containers: []corev1.Container{{
						Name: "probe", Image: Image, ImagePullPolicy: corev1.PullIfNotPresent,
						Command: []string{"/probe", "serve", strconv.Itoa(http), strconv.Itoa(udp)},
						Env: []corev1.EnvVar{{Name: "POD_IPS", ValueFrom: &corev1.EnvVarSource{
							FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIPs"}}}},
						ReadinessProbe: &corev1.Probe{
							PeriodSeconds: 1,
							ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt(http)}},
						},
					}},
				},
			},
		},
	}
}

func ignoreExists(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
