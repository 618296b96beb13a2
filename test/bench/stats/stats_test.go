// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"math/rand/v2"
	"testing"
)

func TestMedian(t *testing.T) {
	for name, tc := range map[string]struct {
		samples []float64
		want    Summary
	}{
		"none":                        {nil, Summary{}},
		"one":                         {[]float64{3}, Summary{1, 3, 3, 3}},
		"an even number":              {[]float64{4, 1, 3, 2}, Summary{4, 2.5, 1, 4}},
		"five are too few for 95 %":   {[]float64{5, 4, 3, 2, 1}, Summary{5, 3, 1, 5}},
		"six: smallest to largest":    {[]float64{6, 5, 4, 3, 2, 1}, Summary{6, 3.5, 1, 6}},
		"nine: second to eighth":      {[]float64{9, 8, 7, 6, 5, 4, 3, 2, 1}, Summary{9, 5, 2, 8}},
		"an outlier moves no median":  {[]float64{1, 2, 3, 4, 5, 6, 7, 8, 1e9}, Summary{9, 5, 2, 8}},
		"fifteen: fourth to twelfth":  {[]float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, Summary{15, 8, 4, 12}},
		"samples that are all equal":  {[]float64{7, 7, 7, 7, 7, 7, 7}, Summary{7, 7, 7, 7}},
		"two differ by half a median": {[]float64{1, 2}, Summary{2, 1.5, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Median(tc.samples); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

// TestIntervalsCover draws from a skewed distribution, whose quantiles are known, and
// counts how often the interval holds the true one.
func TestIntervalsCover(t *testing.T) {
	const trials = 4000
	random := rand.New(rand.NewPCG(1, 2))
	for name, tc := range map[string]struct {
		n        int
		q, truth float64
	}{
		"median of 9":              {9, 0.5, 0.6931471805599453},
		"median of 200":            {200, 0.5, 0.6931471805599453},
		"90th percentile of 200":   {200, 0.9, 2.302585092994046},
		"99th percentile of 1,000": {1000, 0.99, 4.605170185988092},
	} {
		t.Run(name, func(t *testing.T) {
			held := 0
			for range trials {
				samples := make([]float64, tc.n)
				for i := range samples {
					samples[i] = random.ExpFloat64()
				}
				if s := Quantile(samples, tc.q); s.Low <= tc.truth && tc.truth <= s.High {
					held++
				}
			}
			if share := float64(held) / trials; share < Confidence-0.01 || share > 0.995 {
				t.Errorf("the interval held the true value in %.1f %% of the trials, want about 95 to 99", share*100)
			}
		})
	}
}
