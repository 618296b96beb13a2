// SPDX-License-Identifier: Apache-2.0

// Package agents asks the agents of a cluster what they know: an HTTP request to each one's
// loopback address, through the API server and the kubelet (port forwarding), with the
// rights of whoever asks.
//
// It must not know what is asked.
package agents

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

const (
	// port is where agents serve what they know, on loopback.
	port = 9442
	// atOnce bounds the agents that are asked at the same time.
	atOnce = 16
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 64 << 20
)

// Answer is what a node's agent said.
type Answer struct {
	Node string
	Body []byte
	// Err says why there is no answer, with what to do.
	Err error
}

// ErrNotFound is the error of an agent that knows nothing of what it was asked for.
var ErrNotFound = errors.New("the agent knows nothing of it")

// Options say whom to ask.
type Options struct {
	// Namespace is that of the agents.
	Namespace string
	// Node is the only one to ask; empty: all.
	Node string
	// Timeout is for each agent.
	Timeout time.Duration
}

// Ask sends GET path to agents and returns their answers, sorted by node. A node that does
// not answer has an answer with an error; the error of Ask itself is that nobody could be asked.
func Ask(ctx context.Context, cfg *rest.Config, opts Options, path string) ([]Answer, error) {
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	list := metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=fairlead,app.kubernetes.io/component=agent"}
	if opts.Node != "" {
		list.FieldSelector = "spec.nodeName=" + opts.Node
	}
	pods, err := client.CoreV1().Pods(opts.Namespace).List(ctx, list)
	if err != nil {
		return nil, fmt.Errorf("the agents' pods in namespace %s cannot be listed: %w", opts.Namespace, err)
	}
	if len(pods.Items) == 0 {
		return nil, fmt.Errorf("namespace %s has no agent%s: is Fairlead installed on this cluster, and is --namespace right?",
			opts.Namespace, onNode(opts.Node))
	}
	asked := onePerNode(pods.Items)
	answers := make([]Answer, len(asked))
	var group sync.WaitGroup
	turns := make(chan struct{}, atOnce)
	for i, pod := range asked {
		group.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
			defer cancel()
			body, err := askOne(ctx, cfg, client, &pod, path)
			answers[i] = Answer{Node: pod.Spec.NodeName, Body: body, Err: err}
		})
	}
	group.Wait()
	slices.SortFunc(answers, func(a, b Answer) int { return strings.Compare(a.Node, b.Node) })
	return answers, nil
}

// onePerNode picks a pod of each node, sorted by node. While agents are replaced a node may
// have two: they are in one network, and the agent that serves answers by either. A pod that
// runs, and is not about to end, is the one to ask; of two such the older, which has a
// surge's serving agent.
func onePerNode(pods []corev1.Pod) []corev1.Pod {
	last := func(p corev1.Pod) int {
		rank := 0
		if p.Status.Phase != corev1.PodRunning {
			rank += 2
		}
		if p.DeletionTimestamp != nil {
			rank++
		}
		return rank
	}
	pods = slices.Clone(pods)
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		return cmp.Or(strings.Compare(a.Spec.NodeName, b.Spec.NodeName), cmp.Compare(last(a), last(b)),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return slices.CompactFunc(pods, func(a, b corev1.Pod) bool { return a.Spec.NodeName == b.Spec.NodeName })
}

func onNode(name string) string {
	if name == "" {
		return ""
	}
	return " on node " + name
}

// askOne asks one agent.
func askOne(ctx context.Context, cfg *rest.Config, client kubernetes.Interface, pod *corev1.Pod, path string) ([]byte, error) {
	if pod.Status.Phase != corev1.PodRunning {
		return nil, fmt.Errorf("its agent is %s; see kubectl describe pod -n %s %s", strings.ToLower(string(pod.Status.Phase)), pod.Namespace, pod.Name)
	}
	local, stop, err := forward(ctx, cfg, client, pod)
	if err != nil {
		return nil, fmt.Errorf("pod %s/%s cannot be reached: %w", pod.Namespace, pod.Name, err)
	}
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", local, path), nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusNotFound:
		return nil, ErrNotFound
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the agent says %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// forward opens a local port to the agent's.
func forward(ctx context.Context, cfg *rest.Config, client kubernetes.Interface, pod *corev1.Pod) (local uint16, stop func(), err error) {
	to := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(cfg)
	if err != nil {
		return 0, nil, err
	}
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, to)
	done, ready := make(chan struct{}), make(chan struct{})
	var once sync.Once
	stop = func() { once.Do(func() { close(done) }) }
	f, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, done, ready, io.Discard, io.Discard)
	if err != nil {
		return 0, nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- f.ForwardPorts() }()
	select {
	case <-ctx.Done():
		stop()
		return 0, nil, ctx.Err()
	case err := <-ended:
		return 0, nil, errors.Join(errors.New("port forwarding ended"), err)
	case <-ready:
	}
	ports, err := f.GetPorts()
	if err != nil || len(ports) == 0 {
		stop()
		return 0, nil, errors.Join(errors.New("port forwarding has no port"), err)
	}
	return ports[0].Local, stop, nil
}
