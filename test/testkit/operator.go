// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/internal/release"
	"github.com/fairlead-io/fairlead/internal/stack"
)

const (
	// OperatorNamespace is where the operator runs on the hub.
	OperatorNamespace = "fairlead-system"
	// FleetNamespace is where the lab's Clusters, and so the stack, are.
	FleetNamespace = "fleet"
	operatorName   = "fairlead-operator"
	// hooksPort is where the operator's chart has it answer Cluster API's hooks.
	hooksPort = "9445"
)

// LoadImages brings Fairlead's and the probe's images (make images) to all nodes.
func (l *Lab) LoadImages(ctx context.Context) error {
	return l.Run(ctx, "load", l.Path("out", "fairlead.tar"), l.Path("out", "probe.tar"))
}

// LoadVersion brings the image of another version (make images-next) to all nodes.
func (l *Lab) LoadVersion(ctx context.Context, version string) error {
	return l.Run(ctx, "load", l.Path("out", "fairlead-"+version+".tar"))
}

// InstallOperator installs, or upgrades, the operator of this checkout on the hub.
func (l *Lab) InstallOperator(ctx context.Context) error { return l.InstallOperatorVersion(ctx, "") }

// InstallOperatorVersion installs, or upgrades, the operator's chart on the hub with the
// image of a version ("" for the chart's) and waits until it runs. The hub has no pod
// network, so the operator uses the host's.
func (l *Lab) InstallOperatorVersion(ctx context.Context, version string) error {
	cfg, err := l.REST(Hub)
	if err != nil {
		return err
	}
	c, err := l.Client(Hub)
	if err != nil {
		return err
	}
	host, port, err := apiServer(ctx, c)
	if err != nil {
		return err
	}
	chart, err := l.applyOperatorCRDs(ctx, c)
	if err != nil {
		return err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: OperatorNamespace}}
	if err := c.Create(ctx, ns); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	target, err := release.New(cfg, OperatorNamespace, operatorName, &release.Discovery{}, &release.Memory{}, func(string, ...any) {})
	if err != nil {
		return err
	}
	hub, err := l.plan.Cluster(Hub)
	if err != nil {
		return err
	}
	values := map[string]any{
		"image": map[string]any{"tag": version},
		// Cluster API's manager finds no Services by name there.
		"birth":       map[string]any{"url": "https://" + net.JoinHostPort(hub.Nodes[0].IPv4.String(), hooksPort)},
		"hostNetwork": true,
		"replicas":    1,
		"tolerations": []any{map[string]any{"operator": "Exists"}},
		"apiServer":   map[string]any{"host": host, "port": port},
	}
	digest := stack.Digest([]any{chart.Digest(), values})
	target.Chart, target.Values, target.Digest, target.Plan = chart, values, digest, digest
	if _, err := target.Observe(ctx); err != nil {
		return err
	}
	if _, err := target.Do(ctx, target.Due(false)); err != nil {
		return err
	}
	return WaitDeployment(ctx, c, OperatorNamespace, operatorName)
}

// applyOperatorCRDs applies the kinds that the operator serves and returns its chart.
func (l *Lab) applyOperatorCRDs(ctx context.Context, hub client.Client) (*release.Chart, error) {
	chart, err := release.LoadChart(os.DirFS(l.Path("charts")), operatorName)
	if err != nil {
		return nil, err
	}
	for _, crd := range chart.CRDs() {
		if err := Apply(ctx, hub, crd); err != nil {
			return nil, err
		}
	}
	return chart, nil
}

// apiServer returns where the hub's nodes reach its API server.
func apiServer(ctx context.Context, c client.Client) (string, int64, error) {
	var slice discoveryv1.EndpointSlice
	if err := c.Get(ctx, client.ObjectKey{Namespace: "default", Name: "kubernetes"}, &slice); err != nil {
		return "", 0, err
	}
	if len(slice.Endpoints) == 0 || len(slice.Ports) == 0 {
		return "", 0, errors.New("the hub's API server has not announced its address")
	}
	return slice.Endpoints[0].Addresses[0], int64(*slice.Ports[0].Port), nil
}

// WaitDeployment waits until every replica of a Deployment is updated and available.
func WaitDeployment(ctx context.Context, c client.Client, namespace, name string) error {
	last := "it does not exist"
	err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		var d appsv1.Deployment
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &d); err != nil {
			last = err.Error()
			return false, nil
		}
		s := d.Status
		last = fmt.Sprintf("%d of %d replicas are available", s.AvailableReplicas, *d.Spec.Replicas)
		return s.ObservedGeneration == d.Generation && s.UpdatedReplicas == *d.Spec.Replicas &&
			s.AvailableReplicas == *d.Spec.Replicas && s.Replicas == *d.Spec.Replicas, nil
	})
	if err != nil {
		return fmt.Errorf("deployment %s/%s: %s: %w", namespace, name, last, err)
	}
	return nil
}

// Apply applies an object from the server's side, as kubectl apply --server-side does.
func Apply(ctx context.Context, c client.Client, obj *unstructured.Unstructured) error {
	return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), client.FieldOwner("lab"), client.ForceOwnership)
}

// ApplyFile applies every object of a YAML file.
func (l *Lab) ApplyFile(ctx context.Context, c client.Client, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	for dec := yaml.NewYAMLOrJSONDecoder(f, 4096); ; {
		obj := &unstructured.Unstructured{}
		if err := dec.Decode(obj); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if len(obj.Object) == 0 {
			continue
		}
		if err := Apply(ctx, c, obj); err != nil {
			return err
		}
	}
}
