// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/matrix"
	"github.com/fairlead-io/fairlead/test/requests"
)

const (
	// WebName is the Deployment and the Service that answer requests, WebPort their port.
	WebName = "web"
	WebPort = 8080
)

// DeployWeb creates the Deployment of request servers and a Service of type NodePort in
// front of them, in LoadNamespace, which must be there.
func (l *Lab) DeployWeb(ctx context.Context, cluster string, replicas int32) error {
	c, err := l.Client(cluster)
	if err != nil {
		return err
	}
	labels := map[string]string{"app": WebName}
	both := corev1.IPFamilyPolicyPreferDualStack
	for _, o := range []client.Object{
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: LoadNamespace, Name: WebName},
			Spec: appsv1.DeploymentSpec{
				Replicas: &replicas,
				Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
					Containers: []corev1.Container{{
						Name: WebName, Image: matrix.Image, ImagePullPolicy: corev1.PullIfNotPresent,
						Command:        []string{"/probe", "request-server", strconv.Itoa(WebPort)},
						ReadinessProbe: webProbe(),
					}},
				}},
			},
		},
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: LoadNamespace, Name: WebName},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeNodePort, IPFamilyPolicy: &both, Selector: labels,
				Ports: []corev1.ServicePort{{Port: WebPort}},
			},
		},
	} {
		if err := c.Create(ctx, o); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("%s: %w", cluster, err)
		}
	}
	return nil
}

func webProbe() *corev1.Probe {
	p := &corev1.Probe{PeriodSeconds: 1}
	p.TCPSocket = &corev1.TCPSocketAction{}
	p.TCPSocket.Port.IntVal = WebPort
	return p
}

// Requests are under way.
type Requests struct {
	stop  func() error
	ended chan error
	out   bytes.Buffer
}

// StartRequests sends requests from a pod of LoadNamespace, or from the outside host when
// pod is empty.
func (l *Lab) StartRequests(ctx context.Context, cluster, pod string, cfg requests.Config) (*Requests, error) {
	arg, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	in, hold := io.Pipe()
	r := &Requests{stop: hold.Close, ended: make(chan error, 1)}
	if pod != "" {
		go func() {
			r.ended <- l.ExecPod(ctx, cluster, pod, []string{"/probe", "request", string(arg)}, in, &r.out)
		}()
		return r, nil
	}
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", l.plan.Outside.Netns, l.Path("bin", "probe"), "request", string(arg))
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &r.out, &stderr
	go func() {
		if err := cmd.Run(); err != nil {
			r.ended <- fmt.Errorf("requests from outside: %w: %s", err, strings.TrimSpace(stderr.String()))
			return
		}
		r.ended <- nil
	}()
	return r, nil
}

// Stop ends the requests and returns what came of them.
func (r *Requests) Stop() (requests.Result, error) {
	var result requests.Result
	if err := errors.Join(r.stop(), <-r.ended); err != nil {
		return result, err
	}
	err := json.Unmarshal(r.out.Bytes(), &result)
	return result, err
}
