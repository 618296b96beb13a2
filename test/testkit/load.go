// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/continuity"
)

// Load is a load from a pod to an address. It is commanded through the API server and the
// kubelet, so that what is done to the pods' network does not touch the command.
type Load struct {
	*continuity.Remote

	cancel context.CancelFunc
	ended  chan error
}

// StartLoad puts a load on the path from a pod of LoadNamespace to a server. The load ends
// with the context, too.
func (l *Lab) StartLoad(ctx context.Context, cluster, pod string, server netip.AddrPort, load continuity.Config) (*Load, error) {
	one, err := startLoad(ctx, server, load, func(ctx context.Context, command []string, in io.Reader, out io.Writer) error {
		return l.ExecPod(ctx, cluster, pod, command, in, out)
	})
	if err != nil {
		return nil, fmt.Errorf("load from pod %s of %s to %s: %w", pod, cluster, server, err)
	}
	return one, nil
}

// StartLoadByNode is StartLoad for a load that the cluster's control plane may restart under: it
// is commanded through the pod's node.
func (l *Lab) StartLoadByNode(ctx context.Context, cluster, pod string, server netip.AddrPort, load continuity.Config) (*Load, error) {
	c, err := l.Client(cluster)
	if err != nil {
		return nil, err
	}
	var p corev1.Pod
	if err := c.Get(ctx, client.ObjectKey{Namespace: LoadNamespace, Name: pod}, &p); err != nil {
		return nil, err
	}
	if len(p.Status.ContainerStatuses) == 0 {
		return nil, fmt.Errorf("pod %s of %s has no container", pod, cluster)
	}
	_, id, _ := strings.Cut(p.Status.ContainerStatuses[0].ContainerID, "//")
	one, err := startLoad(ctx, server, load, func(ctx context.Context, command []string, in io.Reader, out io.Writer) error {
		var stderr bytes.Buffer
		cmd := l.command(ctx, append([]string{"exec", p.Spec.NodeName, "--", "ctr", "-a", "/run/containerd/containerd.sock", "-n", "k8s.io",
			"tasks", "exec", "--exec-id", fmt.Sprintf("load-%d", time.Now().UnixNano()), id}, command...)...)
		cmd.Stdout, cmd.Stderr = out, &stderr
		// Not cmd.Stdin, which Run would wait for the end of.
		orders, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go io.Copy(orders, in) //nolint:errcheck // it ends with the command
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load from pod %s of %s on %s to %s: %w", pod, cluster, p.Spec.NodeName, server, err)
	}
	return one, nil
}

// startLoad starts a load by a way to run a command in its pod.
func startLoad(ctx context.Context, server netip.AddrPort, load continuity.Config, run func(context.Context, []string, io.Reader, io.Writer) error) (*Load, error) {
	arg, err := json.Marshal(load)
	if err != nil {
		return nil, err
	}
	in, orders := io.Pipe()
	answers, out := io.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	one := &Load{cancel: cancel, ended: make(chan error, 1)}
	go func() {
		err := run(ctx, []string{"/probe", "load", server.String(), string(arg)}, in, out)
		out.CloseWithError(err)
		orders.Close() //nolint:errcheck // a pipe's never fails
		one.ended <- err
	}()
	if one.Remote, err = continuity.Command(orders, answers); err != nil {
		orders.Close() //nolint:errcheck // as above
		defer cancel()
		return nil, errors.Join(err, <-one.ended)
	}
	return one, nil
}

// ExecPod runs a command in a pod of LoadNamespace until it ends. What it prints as an error
// is part of the error.
func (l *Lab) ExecPod(ctx context.Context, cluster, pod string, command []string, in io.Reader, out io.Writer) error {
	return l.execIn(ctx, cluster, LoadNamespace, pod, command, in, out)
}

func (l *Lab) execIn(ctx context.Context, cluster, namespace, pod string, command []string, in io.Reader, out io.Writer) error {
	cfg, err := l.REST(cluster)
	if err != nil {
		return err
	}
	api, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	req := api.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdin: in != nil, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	exec, err := remotecommand.NewWebSocketExecutor(cfg, "GET", req.URL().String())
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	if err := exec.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out, Stderr: &stderr}); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// Stop ends the load and returns what came of it.
func (l *Load) Stop() (continuity.Result, error) {
	r, err := l.Remote.Stop()
	if err != nil {
		l.cancel()
	}
	return r, errors.Join(err, <-l.ended)
}
