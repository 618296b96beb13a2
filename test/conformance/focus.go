// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Specs are the texts (regular expressions) of the specs that a pod network has to pass. Each has to
// match one spec at least, so that a rename upstream is not taken for a success.
var Specs = []string{
	`Networking Granular Checks: Pods should function for intra-pod communication: http`,
	`Networking Granular Checks: Pods should function for intra-pod communication: udp`,
	`Networking Granular Checks: Pods should function for node-pod communication: http`,
	`Networking Granular Checks: Pods should function for node-pod communication: udp`,
	`DNS should provide DNS for the cluster +\[Conformance\]`,
	`DNS should provide DNS for services +\[Conformance\]`,
}

// Set names a list of specs.
type Set string

const (
	// Network is Specs.
	Network Set = "network"
	// Services are all specs about Services that can run here, but for those of Native.
	Services Set = "services"
	// Native are specs about Services that native routing alone passes.
	Native Set = "native"
	// Policy are all specs about NetworkPolicy that can run here.
	Policy Set = "policy"
	// PolicyAPI is the conformance suite of network-policy-api, whose tests are not Kubernetes'.
	PolicyAPI Set = "policy-api"
	// Short is Specs, and some of Services and of Policy.
	Short Set = "short"
)

// specs are the expressions of a set.
func (s Set) specs() ([]string, error) {
	switch s {
	case Network, "":
		return Specs, nil
	case Short:
		return slices.Concat(Specs, literally(shortServiceSpecs), literally(shortPolicySpecs)), nil
	case Services:
		return literally(serviceSpecs), nil
	case Native:
		return literally(nativeServiceSpecs), nil
	case Policy:
		return literally(policySpecs), nil
	}
	return nil, fmt.Errorf("there is no set of specs %q: choose %s, %s, %s, %s, %s or %s", s, Network, Short, Services, Native, Policy, PolicyAPI)
}

// selectSpecs keeps the specs whose text holds the words, or all when there are none.
func selectSpecs(all []string, words string) []string {
	var some []string
	for _, s := range all {
		if strings.Contains(s, words) {
			some = append(some, s)
		}
	}
	if len(some) == 0 && words != "" {
		return []string{words} // Any other spec of the suite.
	}
	return some
}

// unmatched returns the expressions that match none of the texts.
func unmatched(expressions, texts []string) (missing []string) {
	for _, e := range expressions {
		re, err := regexp.Compile(e)
		found := false
		for _, t := range texts {
			found = found || (err == nil && re.MatchString(t))
		}
		if !found {
			missing = append(missing, e)
		}
	}
	return missing
}
