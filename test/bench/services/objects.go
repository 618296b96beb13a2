// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"fmt"
	"net/netip"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

const (
	endpoints   = 10 // of each Service
	servicePort = 80
	firstPort   = 8000 // of the server's
	namespace   = "default"
	// writers is how many requests the API server has at a time.
	writers = 32
)

var (
	firstVIP = netip.MustParseAddr("10.97.0.0")
	// firstFiller is the first of the addresses that no pod has: they are only held.
	firstFiller = netip.MustParseAddr("198.18.0.0")
)

// ports are those that the server of the measured Service listens at.
func ports() []uint16 {
	var out []uint16
	for i := range endpoints {
		out = append(out, uint16(firstPort+i))
	}
	return out
}

// plus returns the n-th address after a.
func plus(a netip.Addr, n int) netip.Addr {
	b := a.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func vip(i int) netip.AddrPort { return netip.AddrPortFrom(plus(firstVIP, i), servicePort) }

func name(i int) string { return fmt.Sprintf("service-%05d", i) }

// backends are those of the i-th Service: the server's ports when there is a server.
func backends(i int, server netip.Addr) []datapath.Backend {
	var out []datapath.Backend
	for e := range endpoints {
		b := datapath.Backend{Address: plus(firstFiller, i*endpoints+e), Port: firstPort}
		if server.IsValid() {
			b = datapath.Backend{Address: server, Port: uint16(firstPort + e), Local: true}
		}
		out = append(out, b)
	}
	return out
}

// service is the i-th Service as the datapath is told it.
func service(i int, server netip.Addr) datapath.Service {
	at := vip(i)
	return datapath.Service{
		Name:      namespace + "/" + name(i),
		Frontends: []datapath.Frontend{{Address: at.Addr(), Port: at.Port(), Protocol: datapath.TCP, Kind: datapath.FrontendClusterIP}},
		Pools:     []datapath.Pool{{Backends: backends(i, server)}},
	}
}

// objects are the i-th Service as Kubernetes has it. A slice has one list of ports for all
// of its endpoints, so a server of ten ports needs ten slices.
func objects(i int, server netip.Addr) (*corev1.Service, []*discoveryv1.EndpointSlice) {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(i)},
		Spec: corev1.ServiceSpec{
			ClusterIP: vip(i).Addr().String(),
			Ports:     []corev1.ServicePort{{Port: servicePort, Protocol: corev1.ProtocolTCP}},
		},
	}
	all := backends(i, server)
	if !server.IsValid() {
		return s, []*discoveryv1.EndpointSlice{slice(i, 0, all)}
	}
	var slices []*discoveryv1.EndpointSlice
	for e, b := range all {
		slices = append(slices, slice(i, e, []datapath.Backend{b}))
	}
	return s, slices
}

func slice(i, part int, of []datapath.Backend) *discoveryv1.EndpointSlice {
	protocol, port, ready := corev1.ProtocolTCP, int32(of[0].Port), true
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("%s-%d", name(i), part), Labels: map[string]string{discoveryv1.LabelServiceName: name(i)},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: &port, Protocol: &protocol}},
	}
	for _, b := range of {
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{b.Address.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		})
	}
	return out
}

// addNode makes a machine a Node of the cluster.
func (c *cluster) addNode(ctx context.Context, m *topo.Machine, pods netip.Prefix) error {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: m.Name},
		Spec:       corev1.NodeSpec{PodCIDR: pods.String(), PodCIDRs: []string{pods.String()}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: m.Addresses[0].String()}}},
	}
	if _, err := c.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("node %s: %w", node.Name, err)
	}
	return nil
}

// create makes the Services from one number to below another, the last with the server.
func (c *cluster) create(ctx context.Context, from, to int, server netip.Addr) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for i := from; i < to; i++ {
		of := netip.Addr{}
		if i == to-1 {
			of = server
		}
		group.Go(func() error { return c.createOne(ctx, i, of) })
	}
	return group.Wait()
}

func (c *cluster) createOne(ctx context.Context, i int, server netip.Addr) error {
	s, slices := objects(i, server)
	if _, err := c.client.CoreV1().Services(namespace).Create(ctx, s, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("service %s: %w", s.Name, err)
	}
	for _, one := range slices {
		if _, err := c.client.DiscoveryV1().EndpointSlices(namespace).Create(ctx, one, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("EndpointSlice %s: %w", one.Name, err)
		}
	}
	return nil
}
