// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/charts"
	"github.com/fairlead-io/fairlead/controllers/controllerslice"
	"github.com/fairlead-io/fairlead/internal/trust"

	"github.com/fairlead-io/fairlead/test/bench/process"
)

// What Fairlead's programs are called, and where their objects are.
const (
	clusterName     = "bench"
	systemNamespace = "fairlead-system"
	controllerPod   = "fairlead-controller-0"
	agentAccount    = "fairlead-agent"
	controllerAddr  = "127.0.0.1:9441" // of /readyz
	clusterPods     = "10.244.0.0/16"
)

// admitFairlead gives the cluster what the operator and the chart do: kinds, a CA, the
// namespace, the agents' account and, as no kubelet does, the controller's pod.
func (c *cluster) admitFairlead(ctx context.Context) error {
	if err := c.createKinds(ctx); err != nil {
		return err
	}
	if err := c.writeCA(); err != nil {
		return err
	}
	core := c.client.CoreV1()
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: systemNamespace}}
	if _, err := core.Namespaces().Create(ctx, space, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("namespace %s: %w", systemNamespace, err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: agentAccount}}
	if _, err := core.ServiceAccounts(systemNamespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("ServiceAccount %s: %w", agentAccount, err)
	}
	pod, err := c.createPod(ctx, controllerPod, c.machine.Name, controllerslice.Labels)
	if err != nil {
		return err
	}
	at := c.machine.Addresses[0].String()
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: at, PodIP: at, HostIPs: []corev1.HostIP{{IP: at}}, PodIPs: []corev1.PodIP{{IP: at}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
	if _, err = core.Pods(systemNamespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("status of Pod %s: %w", controllerPod, err)
	}
	return nil
}

// createKinds makes the CRDs of the chart, and waits until they are served.
func (c *cluster) createKinds(ctx context.Context) error {
	files, err := fs.Glob(charts.CNI, path.Join(charts.CNIRoot, "crds", "*.yaml"))
	if err != nil {
		return err
	}
	for _, f := range files {
		b, err := fs.ReadFile(charts.CNI, f)
		if err != nil {
			return err
		}
		_, err = c.client.RESTClient().Post().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").
			SetHeader("Content-Type", "application/yaml").Body(b).DoRaw(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	for _, kind := range []string{"nodenetworks", "addresspools"} {
		err := poll(ctx, upWithin, 50*time.Millisecond, c.running, func() error {
			_, err := c.client.RESTClient().Get().AbsPath("/apis/fairlead.io/v1alpha1/"+kind).SetHeader("Accept", "application/json").DoRaw(ctx)
			return err
		})
		if err != nil {
			return fmt.Errorf("kind %s: %w", kind, err)
		}
	}
	return nil
}

// caDir is where the cluster's CA is, as its Secret would be mounted.
func (c *cluster) caDir() string { return filepath.Join(c.dir, "ca") }

// rootsFile has what controllers' certificates chain to.
func (c *cluster) rootsFile() string { return filepath.Join(c.caDir(), "ca.crt") }

func (c *cluster) writeCA() error {
	root, err := trust.NewRoot(clusterName, time.Now())
	if err != nil {
		return err
	}
	intermediate, err := root.NewIntermediate(clusterName, time.Now())
	if err != nil {
		return err
	}
	data, err := intermediate.Data()
	if err != nil {
		return err
	}
	data = maps.Clone(data)
	data["ca.crt"] = trust.EncodeBundle(root.Certificate)
	if err := os.MkdirAll(c.caDir(), 0o700); err != nil {
		return err
	}
	for name, b := range data {
		if err := os.WriteFile(filepath.Join(c.caDir(), name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// createPod makes the object of a pod of Fairlead's on a node.
func (c *cluster) createPod(ctx context.Context, name, node string, labels map[string]string) (*corev1.Pod, error) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			NodeName: node, HostNetwork: true, ServiceAccountName: agentAccount, AutomountServiceAccountToken: new(false),
			Containers: []corev1.Container{{Name: "fairlead", Image: "fairlead"}},
		},
	}
	pod, err := c.client.CoreV1().Pods(systemNamespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", name, err)
	}
	return pod, nil
}

// startController starts Fairlead's controller beside the API server, and waits until it
// serves the cluster's state.
func (c *cluster) startController(ctx context.Context, bin string) (*process.Process, error) {
	cmd := exec.Command(filepath.Join(bin, "fairlead"), "controller", "--services", "--cluster-name="+clusterName, "--cluster-pod-cidrs="+clusterPods,
		"--namespace="+systemNamespace, "--pod-name="+controllerPod, "--ca-dir="+c.caDir(), "--health="+controllerAddr, "--log-level=warn")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig())
	p, err := process.Start(c.machine.NS, cmd)
	if err != nil {
		return nil, err
	}
	err = poll(ctx, upWithin, 20*time.Millisecond, p.Running, func() error {
		_, err := get(ctx, c.machine.Space, "http://"+controllerAddr+"/readyz")
		return err
	})
	if err != nil {
		p.Stop()
		return nil, fmt.Errorf("the controller: %w", err)
	}
	return p, nil
}
