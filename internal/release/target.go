// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/internal/helm"
	"github.com/fairlead-io/fairlead/internal/objects"
)

// FieldOwner owns the fields that the operator applies in workload clusters.
const FieldOwner = client.FieldOwner("fairlead-operator")

// userAgent sets the requests for releases apart from the operator's others.
const userAgent = "release"

// What callers need of internal/helm and internal/objects, which they do not import.
type (
	// Chart is a chart that was loaded once.
	Chart = helm.Chart
	// Discovery is what all clusters share of what API servers serve.
	Discovery = helm.Discovery
	// RefusedError says that a chart refuses its values.
	RefusedError = helm.RefusedError
	// Ref names an object of a cluster.
	Ref = objects.Ref
)

// LoadChart reads the chart in folder root of fsys.
func LoadChart(fsys fs.FS, root string) (*Chart, error) { return helm.Load(fsys, root) }

// Release is the newest revision of a release.
type Release struct {
	Name         string
	ChartVersion string
	// Revision counts from 1.
	Revision int
	Status   helm.Status
	// Digest identifies chart and values, Plan the configuration that they came from.
	Digest, Plan string
}

// Target is one release of one cluster and what it should be.
type Target struct {
	// Name of the release.
	Name string
	// Chart is nil when no chart of the wanted version is at hand: what is deployed, or in
	// the history, under Plan is what is wanted then. Version is the chart's in the catalogue.
	Chart   *Chart
	Version string
	// Values for the chart; Digest identifies both (see stack.Digest).
	Values map[string]any
	Digest string
	// Plan identifies the configuration. Keep is the one whose revision is never dropped
	// from the history.
	Plan, Keep string
	// Ignore names what may differ from the release.
	Ignore []Ignore
	// Look says what informers know of an object: its objects.Mark. False says that they do
	// not follow it. A nil Look looks for no drift.
	Look func(ctx context.Context, r Ref) (mark string, watched bool, err error)
	// Blank says that the release's namespace was not in the cluster a moment ago, which saves
	// asking a cluster that nothing was installed in for its releases.
	Blank bool
	// Now is the clock.
	Now func() time.Time

	cfg       *rest.Config
	namespace string
	shared    *Discovery
	objects   *objects.Client
	secrets   *objects.Secrets
	memory    *Memory
	log       func(string, ...any)

	// seen is the last observation; read are the records that it took, by Secret; next is
	// the chart rendered, once it was.
	seen Observed
	read map[string]*helm.Record
	next *helm.Record
}

// New returns a target without chart and values, for one release in one namespace of the
// cluster at cfg. It makes no request. memory is what was learned of the release before; log
// receives what only who debugs wants to know, never the content of an object.
func New(cfg *rest.Config, namespace, name string, shared *Discovery, memory *Memory, log func(string, ...any)) (*Target, error) {
	t := &Target{Name: name, Now: time.Now, cfg: rest.CopyConfig(cfg), namespace: namespace, shared: shared, memory: memory, log: log, read: map[string]*helm.Record{}}
	rest.AddUserAgent(t.cfg, userAgent)
	var err error
	t.objects, err = objects.New(t.cfg, string(FieldOwner), func() (meta.RESTMapper, error) {
		served, err := t.served()
		if err != nil {
			return nil, err
		}
		return served.Mapper(), nil
	})
	if err != nil {
		return nil, fmt.Errorf("release %s/%s: %w", namespace, name, err)
	}
	t.secrets = t.objects.Secrets(namespace)
	return t, nil
}

func (t *Target) served() (*helm.Served, error) {
	served, err := t.shared.Of(t.cfg)
	if err != nil {
		return nil, fmt.Errorf("asking what the API server serves: %w", err)
	}
	return served, nil
}

// Do performs one action on what Observe saw last and returns the release as it is
// afterwards, nil when it is gone. An action that was begun is ended, even when ctx ends. The
// error of a chart that refuses its values is a *RefusedError.
func (t *Target) Do(ctx context.Context, a Action) (*Release, error) {
	r, err := t.do(context.WithoutCancel(ctx), a)
	if meta.IsNoMatchError(err) {
		if served, e := t.served(); e == nil {
			t.shared.Forget(served)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("release %s/%s: %s: %w", t.namespace, t.Name, a, err)
	}
	t.seen.Release, t.seen.Unreadable, t.seen.Same = r, false, false
	t.seen.Drift = slices.DeleteFunc(slices.Clone(t.seen.Drift), func(d Difference) bool { return d.Wait == 0 })
	return r, nil
}

// State is that of what Observe saw, or of what an action has made of it since.
func (t *Target) State() State { return Determine(t.seen, t.Wanted()) }

// Due is the action that Next names for what Observe saw.
func (t *Target) Due(correct bool) Action { return Next(t.State(), t.seen, t.Wanted(), correct) }

// DueForRemoval is the action that NextRemoval names for what Observe saw.
func (t *Target) DueForRemoval(cleaned bool) Action {
	return NextRemoval(t.State(), t.seen, t.Wanted(), cleaned)
}

// Drift are the objects that differ, as Observe saw them; after an action, those that it
// has left alone.
func (t *Target) Drift() []Difference { return t.seen.Drift }

// Release is the newest revision, nil when there is none.
func (t *Target) Release() *Release { return t.seen.Release }

// StoredChart is the chart that the newest readable record was made from, without CRDs; nil
// when there is none.
func (t *Target) StoredChart(ctx context.Context) (*Chart, error) {
	for _, e := range t.seen.History {
		r, err := t.load(ctx, e)
		if errors.Is(err, errUnreadable) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return r.Chart()
	}
	return nil, nil
}

func (t *Target) do(ctx context.Context, a Action) (*Release, error) {
	switch a {
	case Install:
		return t.install(ctx)
	case Upgrade:
		return t.upgrade(ctx)
	case Rollback:
		return t.rollback(ctx)
	case Heal:
		return t.heal(ctx)
	case Adopt:
		return t.adopt(ctx)
	case Repair:
		return t.repair(ctx)
	case Uninstall:
		return nil, t.uninstall(ctx)
	case None:
		return t.seen.Release, nil
	}
	return nil, fmt.Errorf("there is no action %q", a)
}
