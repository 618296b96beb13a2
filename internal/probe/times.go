// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"maps"
	"math"
	"math/bits"
	"slices"
	"time"
)

// Times is a histogram of durations: how many there are in each bucket. Buckets are of one
// microsecond up to 16 of them, and then 16 for each doubling, so that a bucket is at most
// 1/16 wider than where it begins (the layout is that of HdrHistogram). The last one, from
// about a minute on, has everything above it.
type Times map[int]int64

const (
	// stepBits is the binary logarithm of the buckets for each doubling.
	stepBits = 4
	steps    = 1 << stepBits
	// octaves is how many doublings there are beyond the first buckets.
	octaves = 22
	// Buckets is how many there are.
	Buckets = steps * (octaves + 1)
)

// bucketOf returns the bucket of a duration in microseconds.
func bucketOf(us int64) int {
	if us < steps {
		return int(max(us, 0))
	}
	shift := bits.Len64(uint64(us)) - 1 - stepBits
	return min(steps*shift+int(us>>shift), Buckets-1)
}

// endOf returns the longest duration of a bucket, in microseconds.
func endOf(bucket int) int64 {
	if bucket < steps {
		return int64(bucket)
	}
	shift := bucket/steps - 1
	return (int64(bucket-steps*shift)+1)<<shift - 1
}

// Add counts a duration.
func (t Times) Add(d time.Duration) { t[bucketOf(d.Microseconds())]++ }

// Merge adds what another histogram has counted.
func (t Times) Merge(other Times) {
	for bucket, n := range other {
		t[bucket] += n
	}
}

// Count is how many durations were counted.
func (t Times) Count() (n int64) {
	for _, one := range t {
		n += one
	}
	return n
}

// Quantile returns a duration that a share q of them does not exceed, from 0 to 1; it is the
// longest of its bucket. Without durations it is 0.
func (t Times) Quantile(q float64) time.Duration {
	rank, bucket := int64(math.Ceil(q*float64(t.Count()))), 0
	for _, bucket = range slices.Sorted(maps.Keys(t)) {
		if rank -= t[bucket]; rank <= 0 {
			break
		}
	}
	return time.Duration(endOf(bucket)) * time.Microsecond
}
