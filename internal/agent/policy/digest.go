// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/binary"
)

// hash makes the digests that ids are. The node's secret comes first, so that nobody who
// writes policies can look for two that have one id.
type hash struct{ b []byte }

// newHash begins a digest of one sort of thing.
func newHash(seed []byte, sort byte) *hash {
	b := make([]byte, 0, len(seed)+120)
	return &hash{append(append(b, seed...), sort)}
}

func (h *hash) text(s string) {
	h.b = binary.AppendUvarint(h.b, uint64(len(s)))
	h.b = append(h.b, s...)
}

func (h *hash) number(n uint64) { h.b = binary.BigEndian.AppendUint64(h.b, n) }

func (h *hash) flag(is bool) {
	if is {
		h.b = append(h.b, 1)
	} else {
		h.b = append(h.b, 0)
	}
}

// whole is the complete digest.
func (h *hash) whole() [sha256.Size]byte { return sha256.Sum256(h.b) }

// sum is an id, never 0.
func (h *hash) sum() uint64 {
	d := h.whole()
	return max(binary.BigEndian.Uint64(d[:8]), 1)
}
