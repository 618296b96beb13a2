// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
)

// atLeast is an amount of a whole, a share rounded up; fallback is for none.
func atLeast(amount *intstr.IntOrString, fallback string, whole int) int {
	return share(amount, fallback, whole, 99)
}

// atMost is an amount of a whole, a share rounded down; fallback is for none.
func atMost(amount *intstr.IntOrString, fallback string, whole int) int {
	return share(amount, fallback, whole, 0)
}

// share reads an amount as the API server has let it through. One that is neither a
// number nor a share counts as 0, which lets the least happen.
func share(amount *intstr.IntOrString, fallback string, whole, round int) int {
	text := fallback
	switch {
	case amount == nil:
	case amount.Type == intstr.Int:
		return max(0, min(whole, int(amount.IntVal)))
	default:
		text = amount.StrVal
	}
	percent, err := strconv.Atoi(strings.TrimSuffix(text, "%"))
	if err != nil || percent < 0 {
		return 0
	}
	return min(whole, (whole*percent+round)/100)
}
