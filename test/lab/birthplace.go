// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/lab/atomicfile"
	"github.com/fairlead-io/fairlead/test/lab/births"
	"github.com/fairlead-io/fairlead/test/lab/kube"
	"github.com/fairlead-io/fairlead/test/lab/node"
	"github.com/fairlead-io/fairlead/test/lab/plan"
	"github.com/fairlead-io/fairlead/test/lab/provider"
	"github.com/fairlead-io/fairlead/test/lab/supervise"
	"github.com/fairlead-io/fairlead/test/lab/wire"
)

// birthplace makes and removes machines for Cluster API's provider, in the supervisor.
type birthplace struct {
	*Lab
	book     *births.Book
	forwards *supervise.Forwards

	mu     sync.Mutex
	routes map[string]map[netip.Prefix]bool // Of control planes to pods, by cluster.
}

var _ provider.Host = (*birthplace)(nil)

// provide has Cluster API's clusters made until the context ends.
func (l *Lab) provide(ctx context.Context, forwards *supervise.Forwards) error {
	book, err := births.Open(l.Plan.Dir)
	if err != nil {
		return err
	}
	b := &birthplace{Lab: l, book: book, forwards: forwards, routes: map[string]map[netip.Prefix]bool{}}
	return provider.Run(ctx, l.Plan.Kubeconfig(plan.HubName), b)
}

// Has implements provider.Host.
func (b *birthplace) Has(version string) bool { return b.Builder.Has(version) }

// Reserve implements provider.Host.
func (b *birthplace) Reserve(namespace, cluster string) (netip.AddrPort, error) {
	birth, err := b.book.Reserve(namespace, cluster)
	if err != nil {
		return netip.AddrPort{}, err
	}
	c := b.Plan.Born(birth)
	err = wire.EnsureBridge(b.Plan.Router, c.Bridge, inNetwork(c.Gateways, c.NodeNetworks))
	return netip.AddrPortFrom(c.ControlPlane.IPv4, plan.APIPort), err
}

// Release implements provider.Host.
func (b *birthplace) Release(cluster string) error {
	birth, known := b.book.Find(cluster)
	if !known {
		return nil
	}
	c := b.Plan.Born(birth)
	for _, m := range append(c.Nodes, c.ControlPlane) { // None, unless someone has removed finalizers.
		if err := b.discard(m); err != nil {
			return err
		}
	}
	if err := wire.RemoveBridge(b.Plan.Router, c.Bridge); err != nil {
		return err
	}
	return b.book.Remove(cluster)
}

// StartControlPlane implements provider.Host.
func (b *birthplace) StartControlPlane(cluster string, wanted provider.ControlPlane) (provider.API, error) {
	birth, err := b.book.SetControlPlane(cluster, wanted.Version, wanted.Pods, wanted.Services)
	if err != nil {
		return provider.API{}, err
	}
	c := b.Plan.Born(birth)
	services, credentials, err := b.controlPlane(c)
	if err == nil && !switchedOff(c.ControlPlane) {
		err = b.ensureMachine(c, c.ControlPlane, services)
	}
	if err != nil {
		return provider.API{}, err
	}
	port, err := b.forwards.Open(c)
	if err != nil {
		return provider.API{}, err
	}
	here, inside, err := kubeconfigs(c, credentials, port)
	if err != nil {
		return provider.API{}, err
	}
	api := provider.API{Cluster: c, Here: b.Plan.Kubeconfig(cluster), Inside: inside}
	return api, atomicfile.Update(api.Here, here, 0o600)
}

// RemoveControlPlane implements provider.Host.
func (b *birthplace) RemoveControlPlane(cluster string) error {
	birth, known := b.book.Find(cluster)
	if !known {
		return nil
	}
	if err := b.forwards.Close(cluster); err != nil {
		return err
	}
	if err := os.RemoveAll(b.Plan.Kubeconfig(cluster)); err != nil {
		return err
	}
	if err := b.discard(b.Plan.Born(birth).ControlPlane); err != nil {
		return err
	}
	b.mu.Lock()
	delete(b.routes, cluster)
	b.mu.Unlock()
	_, err := b.book.SetControlPlane(cluster, "", nil, nil)
	return err
}

// StartNode implements provider.Host.
func (b *birthplace) StartNode(ctx context.Context, cluster, name, version string) (plan.Machine, error) {
	if birth, known := b.book.Find(cluster); !known || birth.Kubernetes == "" {
		return plan.Machine{}, fmt.Errorf("node %s: cluster %s has no control plane", name, cluster)
	}
	birth, err := b.book.AddNode(cluster, name, version)
	if err != nil {
		return plan.Machine{}, err
	}
	c := b.Plan.Born(birth)
	m, err := plan.Plan{Dir: b.Plan.Dir, Clusters: []plan.Cluster{c}}.Machine(name)
	if err != nil || switchedOff(m) {
		return m, err
	}
	_, credentials, err := b.controlPlane(c)
	if err != nil {
		return m, err
	}
	services, err := kube.Worker(c, m, credentials.CA, b.snapshotter())
	if err != nil {
		return m, err
	}
	if err := b.ensureMachine(c, m, services); err != nil {
		return m, err
	}
	return m, b.giveImages(ctx, m)
}

// giveImages has a new node's kubelet start when the images are there.
func (b *birthplace) giveImages(ctx context.Context, m plan.Machine) error {
	loaded := node.Spec{Dir: m.Dir}.Disk(kube.ImagesLoaded)
	if _, err := os.Stat(loaded); err == nil {
		return nil
	}
	archives, err := b.archives()
	if err != nil {
		return err
	}
	for _, a := range archives {
		if err := b.loadOne(ctx, m, a); err != nil {
			return fmt.Errorf("cannot load %s on %s: %w", filepath.Base(a), m.Name, err)
		}
	}
	return atomicfile.Write(loaded, nil, 0o644)
}

// RemoveNode implements provider.Host.
func (b *birthplace) RemoveNode(cluster, name string) error {
	birth, known := b.book.Find(cluster)
	if !known {
		return nil
	}
	for _, m := range b.Plan.Born(birth).Nodes {
		if m.Name == name {
			if err := b.discard(m); err != nil {
				return err
			}
		}
	}
	return b.book.RemoveNode(cluster, name)
}

// discard removes a machine with its disk. Its logs stay for whoever wonders why it went.
func (b *birthplace) discard(m plan.Machine) error {
	release, err := b.power(m)
	if err != nil {
		return err
	}
	defer release()
	if err := b.stop(m); err != nil {
		return err
	}
	return os.RemoveAll(m.Dir)
}

// RouteToPods implements provider.Host.
func (b *birthplace) RouteToPods(ctx context.Context, cluster string, api client.Client) error {
	birth, known := b.book.Find(cluster)
	if !known {
		return nil
	}
	c := b.Plan.Born(birth)
	routes, err := b.routeToPods(ctx, c, api)
	b.mu.Lock()
	defer b.mu.Unlock()
	for r := range b.routes[cluster] {
		if err == nil && !routes[r] {
			err = wire.Unroute(c.ControlPlane.Netns, r)
		}
	}
	if err == nil {
		b.routes[cluster] = routes
	}
	return err
}
