// SPDX-License-Identifier: Apache-2.0

package release

import (
	"os"
	"testing"
)

// testChart is a chart without CRDs, so that no cluster is needed.
func testChart(t *testing.T) *Chart {
	t.Helper()
	c, err := LoadChart(os.DirFS("testdata"), "chart")
	if err != nil {
		t.Fatal(err)
	}
	return c
}
