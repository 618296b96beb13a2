// SPDX-License-Identifier: Apache-2.0

package release

import (
	"slices"
	"testing"

	"github.com/fairlead-io/fairlead/internal/helm"
	"github.com/fairlead-io/fairlead/internal/objects"
)

func TestDetermineAndNext(t *testing.T) {
	seen := func(status helm.Status, digest, plan string) Observed {
		return Observed{
			History: []helm.Entry{{Revision: 3, Status: status, Labels: map[string]string{digestLabel: digest, planLabel: plan}}},
			Release: &Release{Name: "r", Revision: 3, Status: status, Digest: digest, Plan: plan},
		}
	}
	with := func(o Observed, change func(*Observed)) Observed { change(&o); return o }
	superseded := func(o *Observed) {
		o.History = append(o.History, helm.Entry{Revision: 2, Status: helm.StatusSuperseded, Labels: map[string]string{planLabel: "p"}})
	}
	drifted := func(o *Observed) { o.Drift = []Difference{{Ref: objects.Ref{Name: "x"}}} }
	waiting := func(o *Observed) { o.Drift = []Difference{{Ref: objects.Ref{Name: "x"}, Wait: 1}} }
	chart, none := Wanted{Chart: true, Digest: "d", Plan: "p"}, Wanted{Plan: "p"}
	for _, c := range []struct {
		name       string
		observed   Observed
		wanted     Wanted
		state      State
		next       Action
		removal    Action
		afterClean Action
	}{
		{"no release", Observed{}, chart, Absent, Install, None, None},
		{"no release and no chart", Observed{}, none, Absent, None, None, None},
		{"history of a removed one", seen(helm.StatusUninstalled, "d", "p"), chart, Absent, Install, None, None},
		{"somebody's removal of the wanted one cut off", seen(helm.StatusUninstalling, "d", "p"), chart, Removing, Heal, Uninstall, Uninstall},
		{"a removal of another one cut off", seen(helm.StatusUninstalling, "x", "p"), chart, Removing, Upgrade, Uninstall, Uninstall},
		{"an installation cut off", seen(helm.StatusPendingInstall, "d", "p"), chart, Interrupted, Heal, Heal, Heal},
		{"an upgrade to something else cut off", seen(helm.StatusPendingUpgrade, "x", "p"), chart, Interrupted, Upgrade, Upgrade, Upgrade},
		{"a rollback cut off", seen(helm.StatusPendingBack, "d", "p"), chart, Interrupted, Heal, Heal, Heal},
		{"a rollback cut off, without a chart", seen(helm.StatusPendingBack, "x", "p"), none, Interrupted, Heal, Heal, Heal},
		{"a status that is not known", seen("strange", "d", "p"), chart, Interrupted, Heal, Heal, Heal},
		{"superseded, and nothing after it", seen(helm.StatusSuperseded, "d", "p"), chart, Interrupted, Heal, Heal, Heal},
		{"a record that cannot be read", with(seen(helm.StatusDeployed, "d", "p"), func(o *Observed) { o.Unreadable = true }), chart, Unreadable, Upgrade, Upgrade, Upgrade},
		{"a record that cannot be read, no chart, and one of before", with(with(seen(helm.StatusDeployed, "d", "p"), func(o *Observed) { o.Unreadable = true }), superseded), none, Unreadable, Rollback, Rollback, Rollback},
		{"a failure with the wanted values", seen(helm.StatusFailed, "d", "p"), chart, Failed, Heal, Heal, Heal},
		{"a failure with other values", seen(helm.StatusFailed, "x", "p"), chart, Failed, Upgrade, Upgrade, Upgrade},
		{"other values", seen(helm.StatusDeployed, "x", "p"), chart, Outdated, Upgrade, Upgrade, Upgrade},
		{"other values that give the same objects", with(seen(helm.StatusDeployed, "x", "q"), func(o *Observed) { o.Same = true }), chart, Unmarked, Adopt, Adopt, Adopt},
		{"a release of someone else's", seen(helm.StatusDeployed, "", ""), chart, Outdated, Upgrade, Upgrade, Upgrade},
		{"the wanted one under another plan's name", seen(helm.StatusDeployed, "d", "q"), chart, Unmarked, Adopt, Adopt, Adopt},
		{"another plan and no chart", seen(helm.StatusDeployed, "x", "q"), none, Outdated, None, None, None},
		{"another plan, no chart, and one of before", with(seen(helm.StatusDeployed, "x", "q"), superseded), none, Outdated, Rollback, Rollback, Rollback},
		{"the plan and no chart", seen(helm.StatusDeployed, "x", "p"), none, Current, None, None, Uninstall},
		{"an object changed", with(seen(helm.StatusDeployed, "d", "p"), drifted), chart, Drifted, Repair, None, Uninstall},
		{"an object changed again and again", with(seen(helm.StatusDeployed, "d", "p"), waiting), chart, Drifted, None, None, Uninstall},
		{"as wanted", seen(helm.StatusDeployed, "d", "p"), chart, Current, None, None, Uninstall},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Determine(c.observed, c.wanted)
			got := []any{s, Next(s, c.observed, c.wanted, true), NextRemoval(s, c.observed, c.wanted, false), NextRemoval(s, c.observed, c.wanted, true)}
			want := []any{c.state, c.next, c.removal, c.afterClean}
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if got := Next(s, c.observed, c.wanted, false); s == Drifted && got != None {
				t.Errorf("%s is due though drift is to be left", got)
			}
		})
	}
}

func TestTheHistoryIsBounded(t *testing.T) {
	entry := func(revision int, status helm.Status, plan string) helm.Entry {
		return helm.Entry{Revision: revision, Status: status, Labels: map[string]string{planLabel: plan}}
	}
	var history []helm.Entry
	for i := 8; i > 0; i-- {
		history = append(history, entry(i, helm.StatusFailed, "q"))
	}
	history[6] = entry(2, helm.StatusSuperseded, "proven")
	var got []int
	for _, e := range dropped(history, 8, "proven") {
		got = append(got, e.Revision)
	}
	if !slices.Equal(got, []int{1, 3, 4}) {
		t.Errorf("dropped %v, want all but the newest five with the proven one among them", got)
	}
}
