// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"slices"
)

// mostReplays bounds how long a difference is made smaller.
const mostReplays = 1000

// replay does steps on a node that is as its shape says, and returns the difference that
// they end in, nil for none. A difference at an earlier step ends them there.
func (n *node) replay(steps []step) (*difference, int) {
	if err := n.reset(); err != nil {
		return nil, 0
	}
	for i, s := range steps {
		_, err := n.apply(s)
		var d *difference
		if errors.As(err, &d) {
			return d, i + 1
		}
	}
	return nil, 0
}

// shrink looks for fewer steps, and a shorter packet, that end in a difference too.
func (n *node) shrink(steps []step) ([]step, *difference) {
	best, end := n.replay(steps)
	if best == nil {
		return steps, nil
	}
	steps = steps[:end]
	replays := 0
	try := func(candidate []step) bool {
		if replays++; replays > mostReplays {
			return false
		}
		d, end := n.replay(candidate)
		if d == nil {
			return false
		}
		best, steps = d, candidate[:end]
		return true
	}
	for size := len(steps) / 2; size > 0; size /= 2 {
		for at := 0; at+size < len(steps); { // the last step is the one that differs
			if !try(slices.Concat(steps[:at], steps[at+size:])) {
				at += size
			}
		}
	}
	for cut := len(steps[len(steps)-1].Packet.Bytes) / 2; cut > 0; cut /= 2 {
		for last := steps[len(steps)-1].Packet; len(last.Bytes)-cut >= 34; last = steps[len(steps)-1].Packet {
			shorter := *last
			shorter.Bytes = last.Bytes[:len(last.Bytes)-cut]
			if !try(append(slices.Clone(steps[:len(steps)-1]), step{Packet: &shorter})) {
				break
			}
		}
	}
	return steps, best
}
