// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Secrets reads and writes the Secrets of one namespace. They are served at the same place
// by every API server, which need not be asked.
type Secrets struct {
	client    *Client
	namespace string
}

// Secrets returns those of a namespace.
func (c *Client) Secrets(namespace string) *Secrets {
	return &Secrets{client: c, namespace: namespace}
}

func (s *Secrets) path(name ...string) []string {
	return append([]string{"api", "v1", "namespaces", s.namespace, "secrets"}, name...)
}

// ListMetadata lists the metadata of the Secrets that a label selector selects: none of
// their content passes. It also returns the version of the API server's objects of which the
// list is.
func (s *Secrets) ListMetadata(ctx context.Context, selector string) (all []metav1.PartialObjectMetadata, version string, err error) {
	raw, err := s.client.rest.Get().AbsPath(s.path()...).
		SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").
		Param("labelSelector", selector).Do(ctx).Raw()
	if err != nil {
		return nil, "", err
	}
	var list metav1.PartialObjectMetadataList
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, "", errors.New("the API server's answer is no list of Secrets")
	}
	return list.Items, list.ResourceVersion, nil
}

// Get reads a Secret; nil means that it is not there.
func (s *Secrets) Get(ctx context.Context, name string) (*corev1.Secret, error) {
	out, err := decodeSecret(s.client.rest.Get().AbsPath(s.path(name)...).Do(ctx).Raw())
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return out, s.failed("reading", name, err)
}

// Create creates a Secret.
func (s *Secrets) Create(ctx context.Context, o *corev1.Secret) (*corev1.Secret, error) {
	body, err := encodeSecret(o)
	if err != nil {
		return nil, err
	}
	out, err := decodeSecret(s.client.rest.Post().AbsPath(s.path()...).Param("fieldManager", s.client.owner).Body(body).Do(ctx).Raw())
	return out, s.failed("creating", o.Name, err)
}

// Update replaces a Secret.
func (s *Secrets) Update(ctx context.Context, o *corev1.Secret) (*corev1.Secret, error) {
	body, err := encodeSecret(o)
	if err != nil {
		return nil, err
	}
	out, err := decodeSecret(s.client.rest.Put().AbsPath(s.path(o.Name)...).Param("fieldManager", s.client.owner).Body(body).Do(ctx).Raw())
	return out, s.failed("updating", o.Name, err)
}

// Label sets labels of a Secret.
func (s *Secrets) Label(ctx context.Context, name string, labels map[string]string) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
	if err != nil {
		return err
	}
	err = s.client.rest.Patch(types.MergePatchType).AbsPath(s.path(name)...).Param("fieldManager", s.client.owner).Body(body).Do(ctx).Error()
	return s.failed("labelling", name, err)
}

// Delete deletes a Secret; one that is not there is no error.
func (s *Secrets) Delete(ctx context.Context, name string) error {
	err := s.client.rest.Delete().AbsPath(s.path(name)...).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return nil
	}
	return s.failed("deleting", name, err)
}

func (s *Secrets) failed(doing, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s Secret %s/%s: %w", doing, s.namespace, name, err)
}

func encodeSecret(o *corev1.Secret) ([]byte, error) {
	o = o.DeepCopy()
	o.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	return json.Marshal(o)
}

func decodeSecret(raw []byte, err error) (*corev1.Secret, error) {
	if err != nil {
		return nil, err
	}
	o := &corev1.Secret{}
	if err := json.Unmarshal(raw, o); err != nil {
		return nil, errors.New("the API server's answer is no Secret")
	}
	return o, nil
}
