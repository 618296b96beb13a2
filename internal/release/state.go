// SPDX-License-Identifier: Apache-2.0

package release

import (
	"github.com/fairlead-io/fairlead/internal/helm"
)

// State is the state of a release, compared with what is wanted of it.
type State string

// The states of a release.
const (
	// Absent means that there is no release.
	Absent State = "Absent"
	// Interrupted means that an action was begun by a process that did not end it.
	Interrupted State = "Interrupted"
	// Failed means that the last action failed.
	Failed State = "Failed"
	// Outdated means that another chart or other values are deployed.
	Outdated State = "Outdated"
	// Incomplete means that the wanted revision is deployed but an object of it is gone.
	Incomplete State = "Incomplete"
	// Current means that the wanted chart and values are deployed.
	Current State = "Current"
	// Removing means that a removal was begun and not ended.
	Removing State = "Removing"
)

// Observed is what was seen of a release in the cluster.
type Observed struct {
	// Release is its newest revision, nil when there is none.
	Release *helm.Release
	// Incomplete says that an object that the release must have is not there.
	Incomplete bool
}

// Determine names the state of a release, given the digest of the chart and the
// values that it should have.
func Determine(o Observed, digest string) State {
	r := o.Release
	switch {
	case r == nil || r.Status == helm.StatusUninstalled:
		return Absent
	case r.Status == helm.StatusUninstalling:
		return Removing
	case r.Status.Pending():
		return Interrupted
	case r.Status == helm.StatusFailed:
		return Failed
	case r.Status != helm.StatusDeployed || r.Digest != digest:
		return Outdated
	case o.Incomplete:
		return Incomplete
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
	Heal      Action = "Heal"
	Uninstall Action = "Uninstall"
)

// Next returns the action that brings a release from a state to Current.
func Next(s State) Action {
	switch s {
	case Absent:
		return Install
	case Interrupted:
		return Heal
	case Failed, Outdated, Incomplete:
		return Upgrade
	case Removing:
		return Uninstall
	}
	return None
}

// NextRemoval returns the action that brings a release to Absent by way of its
// cleanup values, whose digest Determine was given. cleaned says that the cleanup is
// done on every node.
func NextRemoval(s State, cleaned bool) Action {
	switch s {
	case Absent:
		return None
	case Current:
		if cleaned {
			return Uninstall
		}
		return None
	}
	return Next(s)
}
