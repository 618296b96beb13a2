// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// reflector keeps a part of a kind up to date with the cluster.
func (m *mirror) reflector(key kindKey, k *kind, p *part, namespace string, c ctrlcache.Config) (*toolscache.Reflector, error) {
	one, err := m.object(key)
	if err != nil {
		return nil, err
	}
	options := func(o metav1.ListOptions) *client.ListOptions {
		return &client.ListOptions{Namespace: namespace, LabelSelector: c.LabelSelector, FieldSelector: c.FieldSelector, Limit: o.Limit, Continue: o.Continue, Raw: &o}
	}
	lw := &toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := m.begin(key)
			if err == nil {
				err = m.client.List(ctx, list, options(o))
			}
			if err != nil {
				m.failed(key, k, p, err)
			}
			return list, err
		},
		// What a watch fails by, the list that follows fails by as well.
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			list, err := m.begin(key)
			if err != nil {
				return nil, err
			}
			return m.client.Watch(ctx, list, options(o))
		},
	}
	return toolscache.NewReflectorWithOptions(lw, one, p, toolscache.ReflectorOptions{Name: "fleet", TypeDescription: key.gvk.Kind}), nil
}

// begin is an empty list of a kind to read into. A mirror whose connection is not the
// cluster's any more ends itself: nobody else may be left to end it.
func (m *mirror) begin(key kindKey) (client.ObjectList, error) {
	if !m.current() {
		m.end()
		return nil, errEnded
	}
	return m.list(key)
}

// failed takes note of why a part could not be read.
func (m *mirror) failed(key kindKey, k *kind, p *part, err error) {
	m.log.V(1).Info("Reading a kind failed", "kind", key.gvk.Kind, "error", err.Error())
	if apierrors.IsNotFound(err) { // of a list: the kind is not served
		err = &meta.NoKindMatchError{GroupKind: key.gvk.GroupKind(), SearchedVersions: []string{key.gvk.Version}}
		// Whoever reads next asks anew, without waiting for the reflector's next try.
		m.drop(key, k)
	}
	p.failed(err)
}

// object is an empty object of a kind.
func (m *mirror) object(key kindKey) (runtime.Object, error) {
	if !key.partial {
		return m.scheme.New(key.gvk)
	}
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(key.gvk)
	return o, nil
}

// list is an empty list of a kind.
func (m *mirror) list(key kindKey) (client.ObjectList, error) {
	of := key.gvk
	of.Kind += "List"
	if key.partial {
		l := &metav1.PartialObjectMetadataList{}
		l.SetGroupVersionKind(of)
		return l, nil
	}
	o, err := m.scheme.New(of)
	if err != nil {
		return nil, err
	}
	l, ok := o.(client.ObjectList)
	if !ok {
		return nil, runtime.NewNotRegisteredErrForKind(m.scheme.Name(), of)
	}
	return l, nil
}
