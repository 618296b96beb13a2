// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"os"
	"strings"
)

// defaultDomain is the cluster's domain when the resolver's configuration names none.
const defaultDomain = "cluster.local"

// domain returns the cluster's domain: what follows svc in the resolver's search list.
func domain(resolv string) string {
	text, err := os.ReadFile(resolv)
	if err != nil {
		return defaultDomain
	}
	for _, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "search" {
			continue
		}
		for _, w := range words[1:] {
			if d, found := strings.CutPrefix(strings.TrimSuffix(w, "."), "svc."); found && d != "" {
				return d
			}
		}
	}
	return defaultDomain
}
