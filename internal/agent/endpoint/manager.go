// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-io/fairlead/internal/agent/ipam"
	"github.com/fairlead-io/fairlead/internal/cniapi"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// Datapath is what the manager needs of the kernel's side.
type Datapath interface {
	AddEndpoint(context.Context, datapath.EndpointSpec) (datapath.Endpoint, error)
	RemoveEndpoint(context.Context, datapath.Endpoint) error
	CheckEndpoint(context.Context, datapath.Endpoint) error
	RestoreEndpoints(context.Context, []datapath.Endpoint) (lost []datapath.Endpoint, err error)
}

// Attachment is a CNI request's subject, validated.
type Attachment struct {
	Key
	Network string
	Netns   string
	Pod     Pod
	Ports   []PortMapping
}

// Manager serves the CNI commands. It is made not ready; Start makes it ready.
type Manager struct {
	store *Store
	log   *slog.Logger
	locks keyLock
	// ranges is held for reading while an ADD is under way, so that SetRanges
	// never replaces a pool that an address is just being taken from.
	ranges sync.RWMutex

	mu       sync.RWMutex
	notReady string // why, while dp is nil
	dp       Datapath
	pool     *ipam.Pool
	records  map[Key]Record
	watcher  Watcher  // nil: nobody
	policies Policies // nil: there are none
}

// NewManager returns a manager over the store's records.
func NewManager(store *Store, log *slog.Logger) *Manager {
	return &Manager{store: store, log: log, notReady: "the agent is starting", records: map[Key]Record{}}
}

// SetNotReady says why the manager is not ready yet; it has no effect after Start.
func (m *Manager) SetNotReady(reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notReady = reason
}

// Start brings back the attachments of the records and makes the manager ready
// to assign addresses of the ranges. A record whose interface is gone (its pod
// died while the agent was away, or the machine was restarted) is dropped.
func (m *Manager) Start(ctx context.Context, dp Datapath, ranges []netip.Prefix) error {
	pool, err := ipam.New(ranges)
	if err != nil {
		return err
	}
	records, problems, err := m.store.Load()
	if err != nil {
		return err
	}
	for _, p := range problems {
		m.log.Warn("an endpoint record cannot be used", "error", p)
	}
	known := make([]datapath.Endpoint, 0, len(records))
	for _, r := range records {
		known = append(known, r.Endpoint)
	}
	lost, err := dp.RestoreEndpoints(ctx, known)
	if err != nil {
		return fmt.Errorf("restore endpoints: %w", err)
	}
	gone := map[Key]bool{}
	for _, e := range lost {
		gone[Key{e.ContainerID, e.IfName}] = true
	}
	if m.policies != nil {
		for _, r := range records {
			if !gone[r.Key()] {
				m.policies.Restored(r)
			}
		}
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = map[Key]Record{}
	for _, r := range records {
		if gone[r.Key()] {
			m.log.Info("an endpoint's interface is gone; its record is dropped", "attachment", r.Key().String(), "pod", r.Pod.String())
			if err := m.store.Delete(r.Key()); err != nil {
				return err
			}
			continue
		}
		if err := pool.Claim(r.Key().String(), r.Endpoint.Addresses); err != nil {
			return err
		}
		m.records[r.Key()] = r
		if m.watcher == nil {
			continue
		}
		if err := m.watcher.Added(ctx, r); err != nil {
			m.log.Warn("a restored endpoint lacks its host ports", "pod", r.Pod.String(), "error", err)
		}
	}
	m.dp, m.pool = dp, pool
	m.log.Info("endpoints restored", "restored", len(m.records), "lost", len(gone))
	return nil
}

// SetRanges replaces the ranges that addresses are assigned from. Attachments
// keep the addresses they have.
func (m *Manager) SetRanges(ranges []netip.Prefix) error {
	pool, err := ipam.New(ranges)
	if err != nil {
		return err
	}
	m.ranges.Lock()
	defer m.ranges.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, r := range m.records {
		if err := pool.Claim(k.String(), r.Endpoint.Addresses); err != nil {
			return err
		}
	}
	m.pool = pool
	return nil
}

// Status answers CNI STATUS: nil when ADD would be served.
func (m *Manager) Status() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.dp == nil {
		return cniapi.Errorf(cniapi.CodeNotAvailable, "the Fairlead agent is not ready: %s", m.notReady)
	}
	return nil
}

func (m *Manager) ready() (Datapath, *ipam.Pool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.dp == nil {
		return nil, nil, cniapi.Errorf(cniapi.CodeTryAgainLater, "the Fairlead agent is not ready: %s", m.notReady)
	}
	return m.dp, m.pool, nil
}

func (m *Manager) find(k Key) (Record, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	r, ok := m.records[k]
	return r, ok
}

// Add answers CNI ADD. It either connects the pod, with its record on disk, or
// leaves nothing.
func (m *Manager) Add(ctx context.Context, a Attachment) (*cniapi.Result, error) {
	defer m.locks.lock(a.ContainerID)()
	if _, _, err := m.ready(); err != nil {
		return nil, err
	}
	if m.policies != nil { // with no other lock held: others go on, and tell what is waited for
		if err := m.policies.Await(ctx, a); err != nil {
			return nil, err
		}
	}
	r, err := m.add(ctx, a)
	if err != nil {
		return nil, err
	}
	if m.policies != nil {
		m.policies.Connected(ctx, r)
	}
	return result(r.Endpoint), nil
}

func (m *Manager) add(ctx context.Context, a Attachment) (r Record, err error) {
	m.ranges.RLock()
	defer m.ranges.RUnlock()
	dp, pool, err := m.ready()
	if err != nil {
		return r, err
	}
	if err := m.refuseRepeated(ctx, dp, a); err != nil {
		return r, err
	}
	addrs, err := pool.Allocate(a.Key.String())
	if err != nil {
		var full *ipam.ExhaustedError
		if errors.As(err, &full) {
			return r, cniapi.Errorf(cniapi.CodeExhausted, "pod %s: %v", a.Pod, err)
		}
		return r, fmt.Errorf("pod %s: %w", a.Pod, err)
	}
	r, err = m.connect(ctx, dp, a, addrs)
	if err != nil {
		pool.Release(a.Key.String())
		return r, fmt.Errorf("pod %s: %w", a.Pod, err)
	}
	if m.watcher != nil {
		if err := m.watcher.Added(ctx, r); err != nil {
			return r, errors.Join(fmt.Errorf("pod %s: %w", a.Pod, err), m.remove(context.WithoutCancel(ctx), dp, r))
		}
	}
	m.mu.Lock()
	m.records[a.Key] = r
	m.mu.Unlock()
	m.log.Info("endpoint added", "pod", a.Pod.String(), "addresses", r.Endpoint.Addresses, "device", r.Endpoint.HostIf)
	return r, nil
}

// refuseRepeated refuses an ADD for an attachment that exists. One that is
// broken (its namespace was replaced) is removed instead, and the ADD goes on.
func (m *Manager) refuseRepeated(ctx context.Context, dp Datapath, a Attachment) error {
	r, exists := m.find(a.Key)
	if !exists {
		return nil
	}
	if r.Endpoint.Netns == a.Netns && dp.CheckEndpoint(ctx, r.Endpoint) == nil {
		return cniapi.Errorf(cniapi.CodeAlreadyAttached, "container %s has interface %s already, with %v: DEL comes before another ADD",
			a.ContainerID, a.IfName, r.Endpoint.Addresses)
	}
	m.log.Warn("a broken endpoint is replaced", "attachment", a.Key.String(), "pod", r.Pod.String())
	return m.remove(ctx, dp, r)
}

// Del answers CNI DEL. What is not known, or gone in part, is a success.
func (m *Manager) Del(ctx context.Context, a Attachment) error {
	defer m.locks.lock(a.ContainerID)()
	dp, _, err := m.ready()
	if err != nil {
		return err
	}
	r, ok := m.find(a.Key)
	if !ok {
		return nil
	}
	return m.remove(ctx, dp, r)
}

// remove takes an attachment away: the kernel's side, then the record, then the
// addresses, so that an address is free only when nothing holds it any more.
func (m *Manager) remove(ctx context.Context, dp Datapath, r Record) error {
	if err := dp.RemoveEndpoint(ctx, r.Endpoint); err != nil {
		return fmt.Errorf("pod %s: %w", r.Pod, err)
	}
	if err := m.store.Delete(r.Key()); err != nil {
		return fmt.Errorf("pod %s: %w", r.Pod, err)
	}
	m.mu.Lock()
	delete(m.records, r.Key())
	pool := m.pool
	m.mu.Unlock()
	if m.policies != nil {
		m.policies.Gone(context.WithoutCancel(ctx), r.Key())
	}
	pool.Release(r.Key().String())
	if m.watcher != nil {
		m.watcher.Removed(context.WithoutCancel(ctx), r)
	}
	m.log.Info("endpoint removed", "pod", r.Pod.String(), "addresses", r.Endpoint.Addresses)
	return nil
}

// Check answers CNI CHECK: the attachment is as ADD left it and has the
// addresses of the runtime's previous result.
func (m *Manager) Check(ctx context.Context, a Attachment, previous []netip.Addr) error {
	defer m.locks.lock(a.ContainerID)()
	dp, _, err := m.ready()
	if err != nil {
		return err
	}
	r, ok := m.find(a.Key)
	if !ok {
		return cniapi.Errorf(cniapi.CodeCheckFailed, "container %s has no interface %s of ours", a.ContainerID, a.IfName)
	}
	for _, p := range previous {
		if !slices.Contains(r.Endpoint.Addresses, p) {
			return cniapi.Errorf(cniapi.CodeCheckFailed, "prevResult has address %s, interface %s of container %s has %v",
				p, a.IfName, a.ContainerID, r.Endpoint.Addresses)
		}
	}
	if err := dp.CheckEndpoint(ctx, r.Endpoint); err != nil {
		return cniapi.Errorf(cniapi.CodeCheckFailed, "pod %s: %v", r.Pod, err)
	}
	return nil
}

// GC answers CNI GC: attachments of the network that are not among valid are removed.
func (m *Manager) GC(ctx context.Context, network string, valid map[Key]bool) error {
	dp, _, err := m.ready()
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range m.Records() {
		if r.Network != network || valid[r.Key()] {
			continue
		}
		errs = append(errs, m.collect(ctx, dp, r))
	}
	return errors.Join(errs...)
}

func (m *Manager) collect(ctx context.Context, dp Datapath, r Record) error {
	defer m.locks.lock(r.Key().ContainerID)()
	if _, still := m.find(r.Key()); !still {
		return nil
	}
	m.log.Info("the runtime does not know this endpoint any more", "attachment", r.Key().String(), "pod", r.Pod.String())
	return m.remove(ctx, dp, r)
}

// Records returns all attachments, sorted by key.
func (m *Manager) Records() []Record {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]Record, 0, len(m.records))
	for _, r := range m.records {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Record) int { return strings.Compare(a.Key().String(), b.Key().String()) })
	return out
}

// Usage returns how full the node's ranges are; nil before Start.
func (m *Manager) Usage() []ipam.Usage {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.pool == nil {
		return nil
	}
	return m.pool.Usage()
}

func result(ep datapath.Endpoint) *cniapi.Result {
	res := &cniapi.Result{Interfaces: []cniapi.Interface{
		{Name: ep.IfName, MAC: ep.PodMAC.String(), MTU: ep.LinkMTU, Netns: ep.Netns},
		{Name: ep.HostIf, MAC: ep.HostMAC.String(), MTU: ep.LinkMTU},
	}}
	for _, a := range ep.Addresses {
		addr := cniapi.Address{Prefix: netip.PrefixFrom(a, a.BitLen())}
		for _, g := range ep.Gateways {
			if g.Is4() == a.Is4() {
				addr.Gateway = g
			}
		}
		res.Addresses = append(res.Addresses, addr)
		everywhere := netip.IPv6Unspecified()
		if a.Is4() {
			everywhere = netip.IPv4Unspecified()
		}
		res.Routes = append(res.Routes, netip.PrefixFrom(everywhere, 0))
	}
	return res
}
