// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"fmt"
	"io/fs"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/internal/helm"
)

// FieldOwner owns the fields that the operator applies in workload clusters.
const FieldOwner = client.FieldOwner("fairlead-operator")

// What callers need of internal/helm, which they do not import.
type (
	// Chart is a chart that was loaded once.
	Chart = helm.Chart
	// Release is the newest revision of a release.
	Release = helm.Release
	// Discovery is what all clusters share of what API servers serve.
	Discovery = helm.Discovery
	// RefusedError says that a chart refuses its values.
	RefusedError = helm.RefusedError
)

// LoadChart reads the chart in folder root of fsys.
func LoadChart(fsys fs.FS, root string) (*Chart, error) { return helm.Load(fsys, root) }

// Helm is what this package needs of internal/helm.
type Helm interface {
	Get(ctx context.Context, name string) (*helm.Release, error)
	Install(ctx context.Context, name string, chart *helm.Chart, values map[string]any, digest string) (*helm.Release, error)
	Upgrade(ctx context.Context, name string, chart *helm.Chart, values map[string]any, digest string) (*helm.Release, error)
	MarkFailed(ctx context.Context, name, why string) error
	Uninstall(ctx context.Context, name string) error
}

// Target is one release of one cluster and what it should be.
type Target struct {
	// Name of the release.
	Name  string
	Chart *helm.Chart
	// Values for the chart; Digest identifies both (see stack.Digest).
	Values map[string]any
	Digest string
	// Helm acts on the cluster's releases, Client reads and writes its objects, live.
	Helm   Helm
	Client client.Client
}

// New returns a target without chart values, for one release in one namespace of the
// cluster at cfg. live reads and writes that cluster without a cache; log receives
// Helm's debug output.
func New(cfg *rest.Config, live client.Client, namespace, name string, chart *Chart, shared *Discovery, log func(string, ...any)) (*Target, error) {
	h, err := helm.New(cfg, namespace, shared, log)
	if err != nil {
		return nil, fmt.Errorf("release %s/%s: %w", namespace, name, err)
	}
	return &Target{Name: name, Chart: chart, Helm: h, Client: live}, nil
}

// Observe reads the newest revision.
func (t *Target) Observe(ctx context.Context) (*helm.Release, error) {
	return t.Helm.Get(ctx, t.Name)
}

// Do performs one action and returns the release as it is afterwards, nil when it
// is gone. The error of a chart that refuses its values is a *helm.RefusedError.
func (t *Target) Do(ctx context.Context, a Action) (*helm.Release, error) {
	switch a {
	case Install:
		return t.install(ctx)
	case Upgrade:
		return t.upgrade(ctx)
	case Heal:
		return t.heal(ctx)
	case Uninstall:
		return nil, t.uninstall(ctx)
	case None:
		return t.Observe(ctx)
	}
	return nil, fmt.Errorf("release %s: there is no action %q", t.Name, a)
}
