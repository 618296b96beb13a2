// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	// digestLabel is the label of a release that names its chart and values.
	digestLabel = "fairlead.io/digest"
	// maxHistory is the number of revisions that a cluster keeps.
	maxHistory = 3
	// requestTimeout bounds each request to the cluster.
	requestTimeout = 30 * time.Second
)

// Status is the status of a release as Helm stores it.
type Status string

// The statuses that Fairlead tells apart.
const (
	StatusDeployed     = Status(release.StatusDeployed)
	StatusFailed       = Status(release.StatusFailed)
	StatusUninstalling = Status(release.StatusUninstalling)
	StatusUninstalled  = Status(release.StatusUninstalled)
)

// Pending says that an action was begun and not ended.
func (s Status) Pending() bool { return release.Status(s).IsPending() }

// Release is the newest revision of a release.
type Release struct {
	Name         string
	ChartVersion string
	// Revision counts from 1.
	Revision int
	Status   Status
	// Digest identifies chart and values; it is what Install or Upgrade was given.
	Digest string
	// Description is Helm's own word on the last action.
	Description string
}

// Client acts on the releases of one namespace of one cluster.
type Client struct {
	cfg       *rest.Config
	namespace string
	shared    *Discovery
	releases  *storage.Storage
	log       func(string, ...any)
}

// New returns a client for one cluster. It makes no request. cfg is copied; log
// receives Helm's own debug output, which names objects and never their content.
func New(cfg *rest.Config, namespace string, shared *Discovery, log func(string, ...any)) (*Client, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = requestTimeout
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	d := driver.NewSecrets(cs.CoreV1().Secrets(namespace))
	d.Log = log
	releases := storage.Init(d)
	releases.MaxHistory = maxHistory
	releases.Log = log
	return &Client{cfg: cfg, namespace: namespace, shared: shared, releases: releases, log: log}, nil
}

// Get returns the newest revision of a release, nil when there is none.
func (c *Client) Get(_ context.Context, name string) (*Release, error) {
	r, err := c.releases.Last(name)
	if errors.Is(err, driver.ErrReleaseNotFound) || errors.Is(err, driver.ErrNoDeployedReleases) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading release %s/%s: %w", c.namespace, name, err)
	}
	return view(r), nil
}

// Install installs a chart whose release must not exist.
func (c *Client) Install(ctx context.Context, name string, chart *Chart, values map[string]any, digest string) (*Release, error) {
	ch, err := chart.fresh()
	if err != nil {
		return nil, err
	}
	return c.act("installing", name, func(cfg *action.Configuration) (*release.Release, error) {
		i := action.NewInstall(cfg)
		i.ReleaseName, i.Namespace = name, c.namespace
		i.SkipCRDs, i.DisableOpenAPIValidation, i.DisableHooks = true, true, true
		i.Labels = map[string]string{digestLabel: digest}
		// An action that was begun is ended: a record left pending needs healing.
		return i.RunWithContext(context.WithoutCancel(ctx), ch, values)
	})
}

// Upgrade brings an existing release, failed ones included, to chart and values.
func (c *Client) Upgrade(ctx context.Context, name string, chart *Chart, values map[string]any, digest string) (*Release, error) {
	ch, err := chart.fresh()
	if err != nil {
		return nil, err
	}
	return c.act("upgrading", name, func(cfg *action.Configuration) (*release.Release, error) {
		u := action.NewUpgrade(cfg)
		u.Namespace, u.MaxHistory, u.ResetValues = c.namespace, maxHistory, true
		u.SkipCRDs, u.DisableOpenAPIValidation, u.DisableHooks = true, true, true
		u.Labels = map[string]string{digestLabel: digest}
		return u.RunWithContext(context.WithoutCancel(ctx), name, ch, values)
	})
}

// MarkFailed ends a revision that an interrupted action left pending, so that the
// next Upgrade may go on from it.
func (c *Client) MarkFailed(_ context.Context, name, why string) error {
	r, err := c.releases.Last(name)
	if err != nil {
		return fmt.Errorf("reading release %s/%s: %w", c.namespace, name, err)
	}
	r.SetStatus(release.StatusFailed, why)
	if err := c.releases.Update(r); err != nil {
		return fmt.Errorf("ending the interrupted revision %d of release %s/%s: %w", r.Version, c.namespace, name, err)
	}
	return nil
}

// Uninstall removes a release and its history. A release that is not there is no error.
func (c *Client) Uninstall(_ context.Context, name string) error {
	_, err := c.act("uninstalling", name, func(cfg *action.Configuration) (*release.Release, error) {
		u := action.NewUninstall(cfg)
		u.DisableHooks, u.IgnoreNotFound = true, true
		u.DeletionPropagation = "background"
		_, err := u.Run(name)
		return nil, err
	})
	return err
}

// act runs one of Helm's actions.
func (c *Client) act(doing, name string, run func(*action.Configuration) (*release.Release, error)) (*Release, error) {
	served, version, err := c.shared.of(c.cfg)
	if err != nil {
		return nil, fmt.Errorf("%s release %s/%s: asking what the API server serves: %w", doing, c.namespace, name, err)
	}
	g := &getter{cfg: c.cfg, namespace: c.namespace, mapper: served.mapper}
	kc := kube.New(g)
	kc.Namespace, kc.Log = c.namespace, c.log
	capabilities := *served.capabilities
	r, err := run(&action.Configuration{
		RESTClientGetter: g,
		KubeClient:       reachable{kc},
		Releases:         c.releases,
		Capabilities:     &capabilities,
		Log:              c.log,
	})
	if err != nil {
		if meta.IsNoMatchError(err) {
			c.shared.forget(version)
		}
		return nil, fmt.Errorf("%s release %s/%s: %w", doing, c.namespace, name, err)
	}
	return view(r), nil
}

// reachable leaves out Helm's own check: the server's version was just asked for.
type reachable struct{ *kube.Client }

// IsReachable always succeeds.
func (reachable) IsReachable() error { return nil }

func view(r *release.Release) *Release {
	if r == nil {
		return nil
	}
	v := &Release{Name: r.Name, Revision: r.Version, Digest: r.Labels[digestLabel]}
	if r.Info != nil {
		v.Status, v.Description = Status(r.Info.Status), r.Info.Description
	}
	if r.Chart != nil && r.Chart.Metadata != nil {
		v.ChartVersion = r.Chart.Metadata.Version
	}
	return v
}
