// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestBucketsAreNarrow: every duration lies in its bucket, which is at most 1/16 wide, and
// buckets follow one another without a gap.
func TestBucketsAreNarrow(t *testing.T) {
	for us, last := int64(0), -1; us < 3_000_000; us++ {
		b := bucketOf(us)
		if b != last && b != last+1 {
			t.Fatalf("%d µs is in bucket %d, after bucket %d", us, b, last)
		}
		if b != last && last >= 0 && endOf(last) != us-1 {
			t.Fatalf("bucket %d ends at %d, and %d µs begins the next", last, endOf(last), us)
		}
		if end := endOf(b); end < us || (end-us)*steps > us {
			t.Fatalf("%d µs is in bucket %d, which ends at %d", us, b, end)
		}
		last = b
	}
	for _, us := range []int64{-1, 1 << 40, 1<<63 - 1} {
		if b := bucketOf(us); b < 0 || b >= Buckets {
			t.Errorf("%d µs is in bucket %d of %d", us, b, Buckets)
		}
	}
}

func TestQuantile(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	times := Times{}
	for range 5000 {
		d := time.Duration(random.ExpFloat64() * float64(3*time.Millisecond))
		all = append(all, d)
		times.Add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.5, 0.9, 0.99, 1} {
		want, got := all[int(q*5000)-1], times.Quantile(q)
		if got < want-time.Microsecond || got > want+want/steps+time.Microsecond {
			t.Errorf("quantile %g is %s, want %s or up to 1/16 more", q, got, want)
		}
	}
	if got := (Times{}).Quantile(0.99); got != 0 {
		t.Errorf("quantile of nothing is %s", got)
	}
}
