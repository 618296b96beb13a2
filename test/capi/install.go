// SPDX-License-Identifier: Apache-2.0

package capi

import (
	"context"
	"fmt"
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// owner owns the fields of what is installed.
const owner = client.FieldOwner("cluster-api-installation")

const (
	// servedWithin bounds how long an API server takes until it serves a new kind.
	servedWithin = time.Minute
	servedPoll   = 100 * time.Millisecond
)

// Install applies a provider's objects, as often as one likes, and returns when its kinds are
// served. Its manager is to be started next: until it is, nothing of its kinds can be written.
func Install(ctx context.Context, c client.Client, i Installation) error {
	objects, err := i.Objects()
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o.DeepCopy()), owner, client.ForceOwnership); err != nil {
			return fmt.Errorf("installing %s: %s %s: %w", i.Name, o.GetKind(), o.GetName(), err)
		}
	}
	for _, o := range objects {
		if o.GetKind() != "CustomResourceDefinition" {
			continue
		}
		if err := served(ctx, c, o.GetName()); err != nil {
			return fmt.Errorf("installing %s: the API server does not serve %s: %w", i.Name, o.GetName(), err)
		}
	}
	return nil
}

// served waits until a CRD is established.
func served(ctx context.Context, c client.Client, name string) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	return wait.PollUntilContextTimeout(ctx, servedPoll, servedWithin, true, func(ctx context.Context) (bool, error) {
		if err := c.Get(ctx, client.ObjectKey{Name: name}, u); err != nil {
			return false, err
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, crd); err != nil {
			return false, err
		}
		return slices.ContainsFunc(crd.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
			return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
		}), nil
	})
}
