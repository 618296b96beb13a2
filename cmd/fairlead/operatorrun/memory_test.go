// SPDX-License-Identifier: Apache-2.0

package operatorrun

import "testing"

func TestMemoryLimit(t *testing.T) {
	for _, c := range []struct {
		name, said string
		want       int64
		ok         bool
	}{
		{"512 MiB", "536870912\n", 429496730, true},
		{"none (version 2)", "max\n", 0, false},
		{"none (version 1)", "9223372036854771712\n", 0, false},
		{"nothing", "", 0, false},
		{"less than nothing", "-1", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, ok := memoryLimit(c.said); got != c.want || ok != c.ok {
				t.Errorf("got %d, %t; want %d, %t", got, ok, c.want, c.ok)
			}
		})
	}
}
