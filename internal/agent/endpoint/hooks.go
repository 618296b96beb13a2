// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"errors"
	"net/netip"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// Watcher is told of attachments.
type Watcher interface {
	// Added is called before an ADD succeeds, and at Start for each one that was restored.
	// Its error fails the ADD.
	Added(context.Context, Record) error
	// Removed is called when an attachment is gone.
	Removed(context.Context, Record)
}

// Policies has network policies hold for pods.
type Policies interface {
	// Restored is called at Start for each attachment, before the datapath may open anything.
	Restored(Record)
	// Await is called first of all, and may wait, within bounds, until it is known what the
	// pod's policies say. Its error fails the ADD.
	Await(context.Context, Attachment) error
	// Prepare is called before a pod with new addresses is connected, and returns when what
	// its policies say is in force. Its error fails the ADD; nothing is left of the pod then.
	Prepare(ctx context.Context, a Attachment, addresses []netip.Addr) error
	// Connected is called when the pod is. It may wait, within bounds, until others know it.
	Connected(ctx context.Context, r Record)
	// Gone is called when an attachment that was prepared is gone, before its addresses may
	// be another's.
	Gone(ctx context.Context, k Key)
}

// Enforce has policies hold for pods, from before Start on.
func (m *Manager) Enforce(p Policies) { m.policies = p }

// Watch has a watcher told of attachments, from before Start on.
func (m *Manager) Watch(w Watcher) { m.watcher = w }

// connect has a pod's policies in force, connects it, and saves its record; or it leaves
// nothing but the addresses, which are the caller's.
func (m *Manager) connect(ctx context.Context, dp Datapath, a Attachment, addrs []netip.Addr) (r Record, err error) {
	if m.policies != nil {
		if err := m.policies.Prepare(ctx, a, addrs); err != nil {
			return r, err
		}
		defer func() {
			if err != nil {
				m.policies.Gone(context.WithoutCancel(ctx), a.Key)
			}
		}()
	}
	ep, err := dp.AddEndpoint(ctx, datapath.EndpointSpec{ContainerID: a.ContainerID, IfName: a.IfName, Netns: a.Netns, Addresses: addrs})
	if err != nil {
		return r, err
	}
	r = Record{Version: recordVersion, Network: a.Network, Pod: a.Pod, Endpoint: ep, Ports: a.Ports}
	if err := m.store.Save(r); err != nil {
		return r, errors.Join(err, dp.RemoveEndpoint(context.WithoutCancel(ctx), ep))
	}
	return r, nil
}
