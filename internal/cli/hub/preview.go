// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/cli/preview"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// Preview has the API server say what a NetworkStack would become, without storing it, and
// reads what the change would meet. document is the object as JSON; manager, if it is not
// empty, is who will apply it.
func (c *Client) Preview(ctx context.Context, namespace, name string, document []byte, manager string) (preview.Input, error) {
	in, err := c.namespaceOf(ctx, namespace)
	if err != nil {
		return in, err
	}
	for i := range in.Stacks {
		if in.Stacks[i].Name == name {
			in.Live = &in.Stacks[i]
		}
	}
	if manager == "" {
		manager = applier(in.Live)
	}
	in.Wanted, err = c.dryRun(ctx, namespace, name, document, manager)
	if err != nil {
		return in, fmt.Errorf("the API server refuses NetworkStack %s/%s: %w", namespace, name, err)
	}
	return in, nil
}

// dryRun applies an object without storing it. It takes fields that belong to others, since
// the question is what they would become.
func (c *Client) dryRun(ctx context.Context, namespace, name string, document []byte, manager string) (*v1alpha1.NetworkStack, error) {
	var object map[string]any
	if err := json.Unmarshal(document, &object); err != nil {
		return nil, err
	}
	if meta, ok := object["metadata"].(map[string]any); ok {
		meta["namespace"] = namespace
	}
	body, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	return c.applyStack(ctx, namespace, name, body,
		url.Values{"dryRun": {"All"}, "fieldManager": {manager}, "force": {"true"}, "fieldValidation": {"Strict"}})
}

// applyStack applies a NetworkStack on the server's side and returns what came of it.
func (c *Client) applyStack(ctx context.Context, namespace, name string, body []byte, query url.Values) (*v1alpha1.NetworkStack, error) {
	out := &v1alpha1.NetworkStack{}
	return out, c.do(ctx, request{
		method: http.MethodPatch, group: fairlead, namespace: namespace, resource: networkStacks, name: name,
		query: query, contentType: string(types.ApplyPatchType), body: body,
	}, out)
}

// applier is the manager that applied the stack which is there: as anybody else, the fields
// that a file no longer has would seem to stay.
func applier(live *v1alpha1.NetworkStack) string {
	name, at := "kubectl", metav1.Time{}
	if live == nil {
		return name
	}
	for _, m := range live.ManagedFields {
		if m.Operation != metav1.ManagedFieldsOperationApply || m.Subresource != "" || slices.Contains([]string{FieldManager, "fairlead-operator"}, m.Manager) {
			continue
		}
		if m.Time != nil && !m.Time.Before(&at) {
			name, at = m.Manager, *m.Time
		}
	}
	return name
}

// namespaceOf reads all that a plan takes into account.
func (c *Client) namespaceOf(ctx context.Context, namespace string) (preview.Input, error) {
	var stacks stackList
	var clusters metav1.PartialObjectMetadataList
	var clusterStackList v1alpha1.ClusterStackList
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return c.do(ctx, request{group: fairlead, namespace: namespace, resource: networkStacks}, &stacks)
	})
	group.Go(func() error {
		return c.do(ctx, request{
			group: clusterAPI, namespace: namespace, resource: "clusters",
			accept: "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
		}, &clusters)
	})
	group.Go(func() error {
		return c.do(ctx, request{group: fairlead, namespace: namespace, resource: clusterStacks}, &clusterStackList)
	})
	if err := group.Wait(); err != nil {
		return preview.Input{}, err
	}
	in := preview.Input{Stacks: stacks.Items, ClusterStacks: clusterStackList.Items}
	for _, m := range clusters.Items {
		in.Clusters = append(in.Clusters, stack.Cluster{Name: m.Name, Labels: m.Labels, Deleting: m.DeletionTimestamp != nil})
	}
	return in, nil
}
