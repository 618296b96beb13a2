// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	owner      = client.FieldOwner("fairlead-lab")
	retryEvery = 200 * time.Millisecond
)

// RESTConfig reads a kubeconfig for a client that is used in bursts.
func RESTConfig(kubeconfig string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 100, 200
	return config, nil
}

// NewClient returns a client for objects without Go types.
func NewClient(kubeconfig string) (client.Client, error) {
	config, err := RESTConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{Scheme: runtime.NewScheme()})
}

// Manifest applies objects that are written as YAML, in their order.
func Manifest(ctx context.Context, c client.Client, manifest []byte) error {
	objects, err := parse(manifest)
	if err != nil {
		return err
	}
	return apply(ctx, c, objects...)
}

// parse splits a file of YAML documents.
func parse(manifest []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		u := &unstructured.Unstructured{}
		if err := decoder.Decode(u); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(u.Object) > 0 {
			objects = append(objects, u)
		}
	}
}

// apply applies the objects in their order, the status of those that carry one too. A young API
// server may refuse for a while: apply tries again until the context ends.
func apply(ctx context.Context, c client.Client, objects ...*unstructured.Unstructured) error {
	for _, u := range objects {
		if err := retry(ctx, func() error { return applyOne(ctx, c, u) }); err != nil {
			return fmt.Errorf("cannot apply %s %s: %w", u.GetKind(), client.ObjectKeyFromObject(u), err)
		}
	}
	return nil
}

func applyOne(ctx context.Context, c client.Client, u *unstructured.Unstructured) error {
	if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u.DeepCopy()), owner, client.ForceOwnership); err != nil {
		return err
	}
	if _, ok := u.Object["status"]; !ok {
		return nil
	}
	return c.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u.DeepCopy()), owner, client.ForceOwnership)
}

func retry(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryEvery):
		}
	}
}
