// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/cli/rollout"
)

// attempts bounds how often an annotation is tried while others change the object.
const attempts = 8

// Annotate has decide say what to change at a NetworkStack, and changes it if nobody has
// changed the object meanwhile; if somebody has, decide is asked anew.
func (c *Client) Annotate(ctx context.Context, namespace, name string, decide func(*v1alpha1.NetworkStack) (rollout.Change, error)) (rollout.Change, error) {
	var err error
	for range attempts {
		s, readErr := c.Stack(ctx, namespace, name)
		if readErr != nil {
			return rollout.Change{}, readErr
		}
		change, decideErr := decide(s)
		if decideErr != nil || len(change.Annotations) == 0 {
			return change, decideErr
		}
		if err = c.patchAnnotations(ctx, s, change.Annotations); !apierrors.IsConflict(err) {
			return change, err
		}
	}
	return rollout.Change{}, fmt.Errorf("NetworkStack %s/%s was changed by others %d times in a row: try again: %w", namespace, name, attempts, err)
}

func (c *Client) patchAnnotations(ctx context.Context, s *v1alpha1.NetworkStack, annotations map[string]string) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": s.ResourceVersion, "uid": s.UID, "annotations": annotations,
	}})
	if err != nil {
		return err
	}
	return c.do(ctx, request{
		method: http.MethodPatch, group: fairlead, namespace: s.Namespace, resource: networkStacks, name: s.Name,
		query: url.Values{"fieldManager": {FieldManager}}, contentType: string(types.MergePatchType), body: body,
	}, &struct{}{})
}

// Pause sets spec.rollout.paused as a field of fairleadctl's own, so that whoever applies
// the rest of the spec, out of a Git repository perhaps, leaves it alone.
func (c *Client) Pause(ctx context.Context, namespace, name string) error {
	_, err := c.applyPaused(ctx, namespace, name, map[string]any{"rollout": map[string]any{"paused": true}})
	if apierrors.IsConflict(err) {
		return fmt.Errorf("spec.rollout.paused of NetworkStack %s/%s belongs to somebody else: set it where it comes from, or take it out there: %w", namespace, name, err)
	}
	return err
}

// ErrPausedByOthers says that a rollout stays paused because somebody else's field says so.
var ErrPausedByOthers = errors.New("somebody else's field pauses it")

// Resume gives the field back, which ends the pause unless somebody else has set it, too.
func (c *Client) Resume(ctx context.Context, namespace, name string) error {
	s, err := c.applyPaused(ctx, namespace, name, nil)
	if err != nil {
		return err
	}
	if s.Spec.Rollout.Paused {
		return fmt.Errorf("spec.rollout.paused of NetworkStack %s/%s is still true: %w (%s): take it out where it comes from", namespace, name, ErrPausedByOthers, managersOf(s, "f:paused"))
	}
	return nil
}

// applyPaused applies fairleadctl's part of the spec.
func (c *Client) applyPaused(ctx context.Context, namespace, name string, spec map[string]any) (*v1alpha1.NetworkStack, error) {
	// The uid keeps an apply from creating what was deleted meanwhile.
	s, err := c.Stack(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	object := map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "NetworkStack",
		"metadata": map[string]any{"namespace": namespace, "name": name, "uid": s.UID},
	}
	if spec != nil {
		object["spec"] = spec
	}
	body, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	return c.applyStack(ctx, namespace, name, body, url.Values{"fieldManager": {FieldManager}})
}

// managersOf names who owns a field of the rollout, other than fairleadctl.
func managersOf(s *v1alpha1.NetworkStack, field string) string {
	var names []string
	for _, m := range s.ManagedFields {
		if m.Manager == FieldManager || m.FieldsV1 == nil {
			continue
		}
		var owned struct {
			Spec struct {
				Rollout map[string]any `json:"f:rollout"`
			} `json:"f:spec"`
		}
		if json.Unmarshal(m.FieldsV1.GetRawBytes(), &owned) != nil {
			continue
		}
		if _, ok := owned.Spec.Rollout[field]; ok {
			names = append(names, m.Manager)
		}
	}
	return strings.Join(names, ", ")
}
