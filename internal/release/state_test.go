// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/fairlead-io/fairlead/internal/helm"
)

func TestDetermineAndNext(t *testing.T) {
	rel := func(status helm.Status, digest string) *helm.Release {
		return &helm.Release{Name: "r", Revision: 3, Status: status, Digest: digest}
	}
	for _, c := range []struct {
		name       string
		observed   Observed
		state      State
		next       Action
		removal    Action
		afterClean Action
	}{
		{"no release", Observed{}, Absent, Install, None, None},
		{"history of a removed one", Observed{Release: rel(helm.StatusUninstalled, "d")}, Absent, Install, None, None},
		{"a removal cut off", Observed{Release: rel(helm.StatusUninstalling, "d")}, Removing, Uninstall, Uninstall, Uninstall},
		{"an installation cut off", Observed{Release: rel("pending-install", "d")}, Interrupted, Heal, Heal, Heal},
		{"an upgrade cut off", Observed{Release: rel("pending-upgrade", "x")}, Interrupted, Heal, Heal, Heal},
		{"a rollback cut off", Observed{Release: rel("pending-rollback", "d")}, Interrupted, Heal, Heal, Heal},
		{"a failure with the wanted values", Observed{Release: rel(helm.StatusFailed, "d")}, Failed, Upgrade, Upgrade, Upgrade},
		{"other values", Observed{Release: rel(helm.StatusDeployed, "x")}, Outdated, Upgrade, Upgrade, Upgrade},
		{"a release of someone else's", Observed{Release: rel(helm.StatusDeployed, "")}, Outdated, Upgrade, Upgrade, Upgrade},
		{"a status that is not known", Observed{Release: rel("strange", "d")}, Outdated, Upgrade, Upgrade, Upgrade},
		{"an object gone", Observed{Release: rel(helm.StatusDeployed, "d"), Incomplete: true}, Incomplete, Upgrade, Upgrade, Upgrade},
		{"as wanted", Observed{Release: rel(helm.StatusDeployed, "d")}, Current, None, None, Uninstall},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Determine(c.observed, "d")
			got := []any{s, Next(s), NextRemoval(s, false), NextRemoval(s, true)}
			want := []any{c.state, c.next, c.removal, c.afterClean}
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// recorder is a Helm that records what it is asked.
type recorder struct {
	asked []string
	fail  error
}

func (r *recorder) Get(context.Context, string) (*helm.Release, error) {
	r.asked = append(r.asked, "get")
	return nil, r.fail
}

func (r *recorder) Install(context.Context, string, *helm.Chart, map[string]any, string) (*helm.Release, error) {
	r.asked = append(r.asked, "install")
	return &helm.Release{}, r.fail
}

func (r *recorder) Upgrade(context.Context, string, *helm.Chart, map[string]any, string) (*helm.Release, error) {
	r.asked = append(r.asked, "upgrade")
	return &helm.Release{}, r.fail
}

func (r *recorder) MarkFailed(context.Context, string, string) error {
	r.asked = append(r.asked, "mark")
	return r.fail
}

func (r *recorder) Uninstall(context.Context, string) error {
	r.asked = append(r.asked, "uninstall")
	return r.fail
}

func TestDo(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		action Action
		fail   error
		asked  []string
	}{
		{Install, nil, []string{"install"}},
		{Upgrade, nil, []string{"upgrade"}},
		{Heal, nil, []string{"mark", "upgrade"}},
		{Heal, broken, []string{"mark"}},
		{Uninstall, nil, []string{"uninstall"}},
		{None, nil, []string{"get"}},
	} {
		r := &recorder{fail: c.fail}
		target := &Target{Name: "r", Chart: testChart(t), Helm: r, Values: map[string]any{"word": "x"}}
		_, err := target.Do(t.Context(), c.action)
		if !errors.Is(err, c.fail) || !slices.Equal(r.asked, c.asked) {
			t.Errorf("%s: asked %v, error %v; want %v, %v", c.action, r.asked, err, c.asked, c.fail)
		}
	}
	r := &recorder{}
	target := &Target{Name: "r", Chart: testChart(t), Helm: r, Values: map[string]any{"unknown": "x"}}
	for _, a := range []Action{Install, Upgrade} {
		var refused *RefusedError
		if _, err := target.Do(t.Context(), a); !errors.As(err, &refused) || len(r.asked) > 0 {
			t.Errorf("%s with a value that the schema does not know: error %v, asked %v", a, err, r.asked)
		}
	}
	if _, err := target.Do(t.Context(), "Dance"); err == nil {
		t.Error("an unknown action is no error")
	}
}
