// SPDX-License-Identifier: Apache-2.0

package release

import (
	"slices"

	"github.com/fairlead-io/fairlead/internal/helm"
)

// State is the state of a release, compared with what is wanted of it.
type State string

// The states of a release.
const (
	// Absent means that there is no release.
	Absent State = "Absent"
	// Interrupted means that an action was begun by a process that did not end it, or that
	// somebody took away the record of the revision that was in force.
	Interrupted State = "Interrupted"
	// Unreadable means that the newest record cannot be read.
	Unreadable State = "Unreadable"
	// Failed means that the last action failed.
	Failed State = "Failed"
	// Outdated means that another chart or other values are deployed.
	Outdated State = "Outdated"
	// Unmarked means that just these objects are deployed, by somebody else or for another
	// configuration: only the record's labels differ.
	Unmarked State = "Unmarked"
	// Drifted means that the wanted revision is deployed, and that somebody changed or
	// deleted objects of it.
	Drifted State = "Drifted"
	// Current means that the wanted chart and values are deployed.
	Current State = "Current"
	// Removing means that a removal was begun and not ended.
	Removing State = "Removing"
)

// Labels of records, beside Helm's own.
const (
	// digestLabel names the chart and the values.
	digestLabel = "fairlead.io/digest"
	// planLabel names the configuration that they came from.
	planLabel = "fairlead.io/plan"
	// appliedLabel says that the objects' fields are owned by FieldOwner. Helm's own client
	// writes objects as a whole, under the name of its program.
	appliedLabel = "fairlead.io/applied"
)

// Observed is what was seen of a release in the cluster.
type Observed struct {
	// History has the labels of every record, the newest first; Release is the newest one,
	// nil when there is none.
	History []helm.Entry
	Release *Release
	// Unreadable says that the content of the newest record makes no sense.
	Unreadable bool
	// Same says that the wanted chart and values give the objects of the newest revision.
	Same bool
	// Drift are the objects that differ from the newest revision.
	Drift []Difference
}

// Wanted is what a release should be.
type Wanted struct {
	// Chart says that a chart of the version is at hand. Without one, the plan is all that
	// is known.
	Chart        bool
	Digest, Plan string
}

// is says whether a record with these labels is what is wanted, but for the plan's name.
func (w Wanted) is(digest, plan string) bool {
	if w.Chart {
		return digest == w.Digest
	}
	return w.Plan != "" && plan == w.Plan
}

// former is the newest revision before the newest that was in force under the wanted plan,
// nil when the history has none.
func (w Wanted) former(history []helm.Entry) *helm.Entry {
	for i := range history {
		e := &history[i]
		if i > 0 && w.Plan != "" && e.Labels[planLabel] == w.Plan && (e.Status == helm.StatusSuperseded || e.Status == helm.StatusDeployed) {
			return e
		}
	}
	return nil
}

// Determine names the state of a release.
func Determine(o Observed, w Wanted) State {
	r := o.Release
	switch {
	case r == nil || r.Status == helm.StatusUninstalled:
		return Absent
	case o.Unreadable:
		return Unreadable
	case r.Status == helm.StatusUninstalling:
		return Removing
	case r.Status == helm.StatusFailed:
		return Failed
	case r.Status != helm.StatusDeployed:
		return Interrupted
	case !w.is(r.Digest, r.Plan) && !o.Same:
		return Outdated
	case r.Plan != w.Plan || !w.is(r.Digest, r.Plan):
		return Unmarked
	case len(o.Drift) > 0:
		return Drifted
	}
	return Current
}

// Action is the one step that is due.
type Action string

// The actions.
const (
	None      Action = "None"
	Install   Action = "Install"
	Upgrade   Action = "Upgrade"
	Rollback  Action = "Rollback"
	Heal      Action = "Heal"
	Adopt     Action = "Adopt"
	Repair    Action = "Repair"
	Uninstall Action = "Uninstall"
)

// Next returns the action that brings a release from a state to Current; None also when
// nothing can: there is neither a chart nor a revision in the history, and when what drifted
// is left as it is for now. correct says that drift is to be put right.
func Next(s State, o Observed, w Wanted, correct bool) Action {
	change := Upgrade
	if !w.Chart {
		if change = Rollback; w.former(o.History) == nil {
			change = None
		}
	}
	switch s {
	case Absent:
		if w.Chart {
			return Install
		}
		return change
	case Interrupted, Failed, Removing:
		if w.is(o.Release.Digest, o.Release.Plan) {
			return Heal
		}
		return change
	case Unreadable, Outdated:
		return change
	case Unmarked:
		return Adopt
	case Drifted:
		if correct && slices.ContainsFunc(o.Drift, func(d Difference) bool { return d.Wait == 0 }) {
			return Repair
		}
	}
	return None
}

// NextRemoval returns the action that brings a release to Absent by way of its
// cleanup values, whose digest Determine was given. cleaned says that the cleanup is
// done on every node.
func NextRemoval(s State, o Observed, w Wanted, cleaned bool) Action {
	switch s {
	case Absent:
		return None
	case Removing:
		return Uninstall
	case Current, Drifted:
		if cleaned {
			return Uninstall
		}
		return None
	}
	return Next(s, o, w, false)
}
