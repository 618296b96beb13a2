// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"fmt"
	"regexp"

	"github.com/Masterminds/semver/v3"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// Requirements are what a version of Fairlead needs of a cluster, as ranges of semantic
// versions such as ">=1.32.0-0"; an empty one is met by everything.
type Requirements struct {
	Kubernetes, Kernel string
}

// Unmet says what of a cluster a version does not support, "" for nothing, as a sentence about
// the version.
func (v Versions) Unmet(version string, e v1alpha1.Environment) string {
	return v.Requires[version].unmet(version, e)
}

// unmet says what of a cluster a version does not support, "" for nothing. What is not known
// of a cluster holds nothing up.
func (r Requirements) unmet(version string, e v1alpha1.Environment) string {
	for _, need := range []struct {
		what, constraint string
		have             []string
	}{
		{"Kubernetes", r.Kubernetes, e.Kubernetes},
		{"Linux", r.Kernel, e.Kernels},
	} {
		if need.constraint == "" {
			continue
		}
		c, err := semver.NewConstraint(need.constraint)
		if err != nil {
			return fmt.Sprintf("the chart of %s asks for %s %q, which is no range of versions", version, need.what, need.constraint)
		}
		for _, have := range need.have {
			if v, ok := release(have); ok && !c.Check(v) {
				return fmt.Sprintf("%s needs %s %s, and there is %s", version, need.what, need.constraint, have)
			}
		}
	}
	return ""
}

// number is the part of a release that counts: kernels of distributions go on with words of
// their own (6.8.0-45-generic), and some have but two numbers.
var number = regexp.MustCompile(`^v?[0-9]+[.][0-9]+([.][0-9]+)?`)

// release reads a version of Kubernetes or Linux without what its builders added.
func release(text string) (*semver.Version, bool) {
	v, err := semver.NewVersion(number.FindString(text))
	return v, err == nil
}
