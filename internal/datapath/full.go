// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// put writes a row, and says of a map that is full how large it is and what is to be done.
func put(m *ebpf.Map, name, fix string, key, row any) error {
	err := m.Put(key, row)
	if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("map %s is full, it has room for %d rows: %s (%w)", name, m.MaxEntries(), fix, err)
	}
	return err
}

// unrealised names the peers whose rows are not all in the kernel after a failed write.
func (d *Datapath) unrealised(failed error) error {
	if failed == nil {
		return nil
	}
	errs := []error{failed}
	for _, peer := range d.peers {
		if peer.Name == d.plan.node.Name {
			continue
		}
		for _, r := range peer.PodCIDRs {
			want, wanted := d.ranges.Get(r)
			if have, ok := d.ranges.Realised(r); wanted && (!ok || have != want) {
				errs = append(errs, fmt.Errorf("peer %s: its pods in %s are out of reach, their row could not be written", peer.Name, r))
			}
		}
	}
	return errors.Join(errs...)
}
