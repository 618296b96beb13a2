// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"fmt"
	"net/netip"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ManyNamespace is where CreateServices puts what it makes.
const ManyNamespace = "fairlead-many"

// manyEndpoints are addresses that no pod has: what is made there is only held, never used.
var manyEndpoints = netip.MustParseAddr("198.18.0.1")

// CreateServices creates Services without pods, each with one EndpointSlice of a number of
// endpoints.
func (l *Lab) CreateServices(ctx context.Context, cluster string, services, endpoints int) error {
	cfg, err := l.REST(cluster)
	if err != nil {
		return err
	}
	cfg.QPS = -1 // as fast as the API server takes them
	c, err := clientFor(cfg)
	if err != nil {
		return err
	}
	if err := create(ctx, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ManyNamespace}}); err != nil {
		return fmt.Errorf("%s: %w", cluster, err)
	}
	var group errgroup.Group
	group.SetLimit(16)
	address := manyEndpoints
	for i := range services {
		service, slice := oneOfMany(i, address, endpoints)
		for range endpoints {
			address = address.Next()
		}
		group.Go(func() error {
			if err := create(ctx, c, service); err != nil {
				return err
			}
			return create(ctx, c, slice)
		})
	}
	return group.Wait()
}

// RemoveServices removes them.
func (l *Lab) RemoveServices(ctx context.Context, cluster string) error {
	c, err := l.Client(cluster)
	if err != nil {
		return err
	}
	return client.IgnoreNotFound(c.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ManyNamespace}}))
}

func create(ctx context.Context, c client.Client, o client.Object) error {
	if err := c.Create(ctx, o); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("%s: %w", o.GetName(), err)
	}
	return nil
}

func oneOfMany(i int, from netip.Addr, endpoints int) (*corev1.Service, *discoveryv1.EndpointSlice) {
	name := fmt.Sprintf("service-%d", i)
	protocol, port, ready := corev1.ProtocolTCP, int32(8080), true
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: ManyNamespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: &port, Protocol: &protocol}},
	}
	for range endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{from.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		})
		from = from.Next()
	}
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: ManyNamespace, Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, Protocol: protocol}}},
	}, slice
}
