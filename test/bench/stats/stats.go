// SPDX-License-Identifier: Apache-2.0

// Package stats says how large a measured value is and how sure that is. It takes and
// returns values and knows nothing of what was measured.
package stats

import (
	"math"
	"slices"
)

// Confidence is the least probability with which an interval covers the true quantile,
// where there are samples enough for it (6 for a median).
const Confidence = 0.95

// Summary is a quantile of samples with its confidence interval.
type Summary struct {
	N         int
	Value     float64
	Low, High float64
}

// Median summarises samples by their median.
func Median(samples []float64) Summary { return Quantile(samples, 0.5) }

// Quantile returns the q-quantile of samples (0 <= q <= 1) and an interval between two
// order statistics that covers the true quantile with at least Confidence, by the binomial
// distribution, whatever the samples' own distribution. Samples too few for that give
// their smallest and largest. No samples give the zero Summary.
func Quantile(samples []float64, q float64) Summary {
	n := len(samples)
	if n == 0 {
		return Summary{}
	}
	s := slices.Sorted(slices.Values(samples))
	low, high := ranks(n, q)
	return Summary{N: n, Value: at(s, q), Low: s[low-1], High: s[high-1]}
}

// at interpolates between neighbouring order statistics.
func at(sorted []float64, q float64) float64 {
	pos := q * float64(len(sorted)-1)
	i := int(pos)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (pos-float64(i))*(sorted[i+1]-sorted[i])
}

// ranks returns the 1-based ranks of the interval's ends: how many of n samples lie below
// the quantile is binomial, and each tail gets at most half of what may be missed.
func ranks(n int, q float64) (low, high int) {
	const tail = (1 - Confidence) / 2
	below := 0.0 // P(at most k samples are below the quantile)
	low, high = 1, n
	found := false
	for k := range n {
		below += binomial(n, k, q)
		if below <= tail {
			low = k + 1
		}
		if !found && below >= 1-tail {
			high, found = k+1, true
		}
	}
	return max(low, 1), min(high, n)
}

// binomial is the probability of k of n, each with probability p.
func binomial(n, k int, p float64) float64 {
	if p == 0 || p == 1 {
		if k == int(p)*n {
			return 1
		}
		return 0
	}
	ln := func(x int) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	return math.Exp(ln(n) - ln(k) - ln(n-k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
}
