// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/csaupgrade"
)

const (
	// requestTimeout bounds each request to the cluster.
	requestTimeout = 15 * time.Second
	// attempts at a change of an object that others change meanwhile.
	attempts = 5
)

// codecs decode the errors of API servers.
var codecs = func() serializer.CodecFactory {
	s := runtime.NewScheme()
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	return serializer.NewCodecFactory(s)
}()

// Client reads and writes objects of one cluster.
type Client struct {
	rest   *rest.RESTClient
	mapper func() (meta.RESTMapper, error)
	owner  string
}

// New returns a client for the cluster at cfg, which is copied; it makes no request. mapper
// says where kinds are served and is asked when that must be known. owner owns the fields
// that are applied.
func New(cfg *rest.Config, owner string, mapper func() (meta.RESTMapper, error)) (*Client, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = requestTimeout
	cfg.ContentConfig = rest.ContentConfig{
		NegotiatedSerializer: codecs.WithoutConversion(),
		AcceptContentTypes:   runtime.ContentTypeJSON, ContentType: runtime.ContentTypeJSON,
	}
	c, err := rest.UnversionedRESTClientFor(cfg)
	if err != nil {
		return nil, err
	}
	return &Client{rest: c, mapper: mapper, owner: owner}, nil
}

// Owner owns the fields that are applied.
func (c *Client) Owner() string { return c.owner }

// path is where an object is served. The error is a "no match" of package meta when its
// kind is not.
func (c *Client) path(r Ref) ([]string, error) {
	m, err := c.mapping(r.Kind)
	if err != nil {
		return nil, err
	}
	var out []string
	if g := m.Resource; g.Group == "" {
		out = []string{"api", g.Version}
	} else {
		out = []string{"apis", g.Group, g.Version}
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		if r.Namespace == "" {
			return nil, fmt.Errorf("%s %s has no namespace: set metadata.namespace", r.Kind.Kind, r.Name)
		}
		out = append(out, "namespaces", r.Namespace)
	}
	return append(out, m.Resource.Resource, r.Name), nil
}

func (c *Client) mapping(kind schema.GroupVersionKind) (*meta.RESTMapping, error) {
	mapper, err := c.mapper()
	if err != nil {
		return nil, err
	}
	return mapper.RESTMapping(kind.GroupKind(), kind.Version)
}

// Namespaced says whether objects of a kind belong to a namespace.
func (c *Client) Namespaced(kind schema.GroupVersionKind) (bool, error) {
	m, err := c.mapping(kind)
	if err != nil {
		return false, err
	}
	return m.Scope.Name() == meta.RESTScopeNameNamespace, nil
}

// answer is the body of an answer. Its own Raw leaves out what the API server says of an error.
func answer(r rest.Result) ([]byte, error) {
	if err := r.Error(); err != nil {
		return nil, err
	}
	return r.Raw()
}

// Get reads an object; nil means that it is not there.
func (c *Client) Get(ctx context.Context, r Ref) (*unstructured.Unstructured, error) {
	p, err := c.path(r)
	if err != nil {
		return nil, err
	}
	o, err := decode(answer(c.rest.Get().AbsPath(p...).Do(ctx)))
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", r, err)
	}
	return o, nil
}

// List reads the objects of a kind of the cluster as a whole that a label selector selects,
// by name.
func (c *Client) List(ctx context.Context, kind schema.GroupVersionKind, selector string) (map[string]*unstructured.Unstructured, error) {
	m, err := c.mapping(kind)
	if err != nil {
		return nil, err
	}
	raw, err := answer(c.rest.Get().AbsPath("apis", kind.Group, kind.Version, m.Resource.Resource).Param("labelSelector", selector).Do(ctx))
	if err != nil {
		return nil, fmt.Errorf("listing objects of kind %s: %w", kind.Kind, err)
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, errors.New("the API server's answer is no list")
	}
	out := map[string]*unstructured.Unstructured{}
	for _, item := range list.Items {
		// The items of a list of one kind do not name it.
		o := &unstructured.Unstructured{}
		var content map[string]json.RawMessage
		if err := json.Unmarshal(item, &content); err != nil {
			return nil, errors.New("the API server's answer holds what is no object")
		}
		content["apiVersion"], _ = json.Marshal(kind.GroupVersion().String())
		content["kind"], _ = json.Marshal(kind.Kind)
		whole, err := json.Marshal(content)
		if err != nil {
			return nil, err
		}
		if err := o.UnmarshalJSON(whole); err != nil {
			return nil, errors.New("the API server's answer holds what is no object")
		}
		out[o.GetName()] = o
	}
	return out, nil
}

// Apply has the cluster hold what o sets and leave the rest; what its owner set before and
// no longer sets goes. force takes fields from others; without it the error is a conflict
// that names them. dry changes nothing. It returns the whole object as it is then.
func (c *Client) Apply(ctx context.Context, o *unstructured.Unstructured, force, dry bool) (*unstructured.Unstructured, error) {
	r := RefOf(o)
	p, err := c.path(r)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(o.Object)
	if err != nil {
		return nil, err
	}
	req := c.rest.Patch(types.ApplyPatchType).AbsPath(p...).Param("fieldManager", c.owner).Body(body)
	if force {
		req.Param("force", "true")
	}
	if dry {
		req.Param("dryRun", metav1.DryRunAll)
	}
	out, err := decode(answer(req.Do(ctx)))
	if err != nil {
		return nil, fmt.Errorf("applying %s: %w", r, err)
	}
	return out, nil
}

// Delete deletes an object and reports whether it was gone already. What it owns goes after it.
func (c *Client) Delete(ctx context.Context, r Ref) (gone bool, err error) {
	p, err := c.path(r)
	if meta.IsNoMatchError(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	policy := metav1.DeletePropagationBackground
	body, err := json.Marshal(metav1.DeleteOptions{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}, PropagationPolicy: &policy})
	if err != nil {
		return false, err
	}
	err = c.rest.Delete().AbsPath(p...).Body(body).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("deleting %s: %w", r, err)
	}
	return false, nil
}

// TakeOver gives an object's fields that the managers named in from once wrote as a whole
// (as Helm's own client does) to the owner, so that those that it does not apply any more go
// with its next Apply. An object that is not there is no error.
func (c *Client) TakeOver(ctx context.Context, r Ref, from ...string) error {
	for range attempts {
		o, err := c.Get(ctx, r)
		if err != nil || o == nil {
			return err
		}
		patch, err := csaupgrade.UpgradeManagedFieldsPatch(o, sets.New(from...), c.owner)
		if err != nil {
			return fmt.Errorf("taking over the fields of %s: %w", r, err)
		}
		if len(patch) == 0 {
			return nil
		}
		p, err := c.path(r)
		if err != nil {
			return err
		}
		err = c.rest.Patch(types.JSONPatchType).AbsPath(p...).Body(patch).Do(ctx).Error()
		switch {
		case err == nil, apierrors.IsNotFound(err):
			return nil
		case !apierrors.IsConflict(err):
			return fmt.Errorf("taking over the fields of %s: %w", r, err)
		}
	}
	return fmt.Errorf("taking over the fields of %s: somebody changes it all the time", r)
}

// decode reads an object from an answer.
func decode(raw []byte, err error) (*unstructured.Unstructured, error) {
	if err != nil {
		return nil, err
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(raw); err != nil {
		return nil, errors.New("the API server's answer is no object")
	}
	return o, nil
}

// Served lists the kinds that the API server serves of a group's version.
func (c *Client) Served(ctx context.Context, gv schema.GroupVersion) ([]string, error) {
	raw, err := c.rest.Get().AbsPath("apis", gv.Group, gv.Version).Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("asking what is served of %s: %w", gv, err)
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, errors.New("the API server's answer is no list of kinds")
	}
	out := make([]string, 0, len(list.APIResources))
	for i := range list.APIResources {
		out = append(out, list.APIResources[i].Kind)
	}
	return out, nil
}
