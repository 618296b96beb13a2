// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

const (
	defaultLoss    = 0.005
	defaultLatency = 20 * time.Millisecond
	// unknownLatency is what is allowed where nothing was measured before.
	unknownLatency = 500 * time.Millisecond
)

// budget is how much worse a probe may become.
type budget struct {
	loss    float64 // share of attempts
	latency time.Duration
}

// budgetOf returns the budget of a probe. What admission would have refused counts as not set.
func budgetOf(gates v1alpha1.GatesSpec, probe string) budget {
	b := budget{loss: defaultLoss, latency: defaultLatency}
	for _, one := range gates.Budgets {
		if one.Probe != probe {
			continue
		}
		if percent, err := strconv.ParseFloat(strings.TrimSuffix(one.Loss, "%"), 64); err == nil && percent >= 0 && percent <= 100 {
			b.loss = percent / 100
		}
		if one.Latency != nil {
			b.latency = one.Latency.Duration
		}
	}
	return b
}

// percent writes a share for people.
func percent(share float64) string { return fmt.Sprintf("%.3g %%", 100*share) }

// grouped writes a number with commas for thousands.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for at := len(s) - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}
