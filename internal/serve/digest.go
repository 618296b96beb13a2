// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"crypto/sha256"
	"encoding/hex"
)

// digest is over a set of (type, name, version). The digests of the members are
// combined by exclusive or, so that a member is added and removed in constant time
// and order does not matter. It tells states apart; it is no proof against someone
// who chooses the members.
type digest [16]byte

func (d digest) String() string { return hex.EncodeToString(d[:]) }

// flip adds a member that is not in the set, or removes one that is.
func (d *digest) flip(o digest) {
	for i := range d {
		d[i] ^= o[i]
	}
}

func memberDigest(typeURL, name, version string) digest {
	b := make([]byte, 0, len(typeURL)+len(name)+len(version)+2)
	b = append(b, typeURL...)
	b = append(b, 0)
	b = append(b, name...)
	b = append(b, 0)
	b = append(b, version...)
	sum := sha256.Sum256(b)
	return digest(sum[:16])
}

// typeDigest stands for "this type has been answered": without it, somebody who has
// heard nothing would seem to be in sync with an empty state.
func typeDigest(typeURL string) digest { return memberDigest(typeURL, "", "") }
