// SPDX-License-Identifier: Apache-2.0

package gate

import "math"

// chance is the probability that at least lost of sent attempts fail when a share of all
// fails: the upper tail of the binomial distribution.
func chance(sent, lost int64, share float64) float64 {
	switch {
	case lost <= 0 || share >= 1:
		return 1
	case lost > sent || share <= 0:
		return 0
	}
	if float64(lost) > float64(sent)*share {
		return tail(sent, lost, share)
	}
	// Most of it is above: what is left is the lower tail, of those that do not fail.
	return 1 - tail(sent, sent-lost+1, 1-share)
}

// tail sums the terms from lost on, where they fall, until they are nothing.
func tail(sent, lost int64, share float64) float64 {
	n, k := float64(sent), float64(lost)
	term := math.Exp(choose(n, k) + k*math.Log(share) + (n-k)*math.Log1p(-share))
	sum := 0.0
	for ; k <= n && term > sum*1e-12; k++ {
		sum += term
		term *= (n - k) / (k + 1) * share / (1 - share)
	}
	return min(sum, 1)
}

// choose is the logarithm of the binomial coefficient.
func choose(n, k float64) float64 {
	all, _ := math.Lgamma(n + 1)
	some, _ := math.Lgamma(k + 1)
	others, _ := math.Lgamma(n - k + 1)
	return all - some - others
}
