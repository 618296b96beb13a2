// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"

	"github.com/fairlead-io/fairlead/internal/datapath/deferred"
	"github.com/fairlead-io/fairlead/internal/datapath/hostfilter"
	"github.com/fairlead-io/fairlead/internal/datapath/masquerade"
)

// repairFilters puts back what a firewall that loads its rules anew has removed: the
// table that masquerades, when the whole ruleset was flushed, and the rules in its chains
// that let pods' packets through.
func (d *Datapath) repairFilters() error {
	repaired, err := masquerade.Repair(d.ns.FD(), d.masqueradeRules())
	if repaired {
		d.log.Warn("the masquerade rules were gone or others, wrote them again")
	}
	repaired, wrong := deferred.Repair(d.ns.FD(), d.deferredRules())
	if repaired {
		d.log.Warn("the rules that drop what no policy was asked about were gone or others, wrote them again")
	}
	return errors.Join(err, wrong, hostfilter.Sync(d.ns.FD(), d.plan.node.PodCIDRs))
}
