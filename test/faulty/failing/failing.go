// SPDX-License-Identifier: Apache-2.0

// Package failing is an agent that ends with an error at its start on one node of each
// cluster, and works on the others.
package failing

import (
	"fmt"
	"strings"
)

// Suffix is how the names of those nodes end: they are the last ones of the lab's clusters,
// which have two.
const Suffix = "-2"

// Start is the error of an agent on a node, nil on most.
func Start(node string) error {
	if strings.HasSuffix(node, Suffix) {
		return fmt.Errorf("node %s: this build does not start here", node)
	}
	return nil
}
