// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// establishWithin bounds the wait for a CRD to be served; it takes milliseconds.
	establishWithin = 10 * time.Second
	establishPoll   = 50 * time.Millisecond
)

// applyCRDs applies the chart's CRDs and waits until the API server serves them.
func (t *Target) applyCRDs(ctx context.Context) error {
	for _, crd := range t.Chart.CRDs() {
		name := crd.GetName()
		if err := t.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(crd), FieldOwner, client.ForceOwnership); err != nil {
			return fmt.Errorf("applying CustomResourceDefinition %s: %w", name, err)
		}
		err := wait.PollUntilContextTimeout(ctx, establishPoll, establishWithin, true, func(ctx context.Context) (bool, error) {
			live := &apiextensionsv1.CustomResourceDefinition{}
			if err := t.Client.Get(ctx, client.ObjectKey{Name: name}, live); err != nil {
				return false, err
			}
			for _, c := range live.Status.Conditions {
				if c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue {
					return true, nil
				}
			}
			return false, nil
		})
		if err != nil {
			return fmt.Errorf("waiting until CustomResourceDefinition %s is served: %w", name, err)
		}
	}
	return nil
}

// RemoveCRDs deletes the chart's CRDs and reports whether they are gone.
func (t *Target) RemoveCRDs(ctx context.Context) (gone bool, err error) {
	gone = true
	for _, crd := range t.Chart.CRDs() {
		err := t.Client.Delete(ctx, crd)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return false, fmt.Errorf("deleting CustomResourceDefinition %s: %w", crd.GetName(), err)
		default:
			gone = false
		}
	}
	return gone, nil
}
