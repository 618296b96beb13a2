// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"math/rand/v2"
	"net"
	"slices"
	stdsync "sync"
)

// cleanAddresses drops what is not host:port, sorts, and removes repetitions.
func cleanAddresses(in []string) []string {
	out := make([]string, 0, len(in))
	for _, a := range in {
		host, port, err := net.SplitHostPort(a)
		if err != nil || host == "" || port == "" || port == "0" {
			continue
		}
		out = append(out, a)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// addressBook holds the controllers' addresses and wakes whoever waits for new ones.
type addressBook struct {
	mu      stdsync.Mutex
	current []string
	changed chan struct{} // closed and replaced when current changes
}

func newAddressBook(initial []string) *addressBook {
	return &addressBook{current: initial, changed: make(chan struct{})}
}

// set replaces the addresses and says whether they differ.
func (b *addressBook) set(addresses []string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Equal(b.current, addresses) {
		return false
	}
	b.current = addresses
	close(b.changed)
	b.changed = make(chan struct{})
	return true
}

// get returns the addresses and a channel that is closed when they change.
func (b *addressBook) get() ([]string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.current), b.changed
}

// order shuffles addresses, so that agents spread over the controllers, and puts
// the one that was just lost last.
func order(addresses []string, lost string) []string {
	rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	if i := slices.Index(addresses, lost); i >= 0 {
		addresses = append(slices.Delete(addresses, i, i+1), lost)
	}
	return addresses
}
