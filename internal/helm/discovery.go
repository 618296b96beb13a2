// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"errors"
	"sync"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// askAgain is how long a server is taken to be of the version that it said: a cluster that
// was upgraded serves the same kinds of a chart, and at the latest then its version counts.
const askAgain = time.Hour

// Discovery remembers what API servers of each version serve, for all clusters
// together: Fairlead's charts hold built-in kinds only, and those depend on nothing
// but the version. Discovery per cluster and release is what makes Helm slow over a
// fleet. Its zero value is ready; it may be used concurrently.
type Discovery struct {
	mu        sync.Mutex
	byVersion map[string]*Served
	byHost    map[string]answer
}

// answer is what a server said its version is, and when.
type answer struct {
	version string
	at      time.Time
}

// Served is what API servers of one version serve.
type Served struct {
	version      string
	mapper       meta.RESTMapper
	capabilities *chartutil.Capabilities
}

// Mapper says where kinds are served.
func (s *Served) Mapper() meta.RESTMapper { return s.mapper }

// Of returns what the API server at cfg serves. It asks for its version once an hour, and
// for more only when no other server of that version was asked before.
func (d *Discovery) Of(cfg *rest.Config) (*Served, error) {
	d.mu.Lock()
	said, ok := d.byHost[cfg.Host]
	known := d.byVersion[said.version]
	d.mu.Unlock()
	if ok && known != nil && time.Since(said.at) < askAgain {
		return known, nil
	}
	dc, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, err
	}
	v, err := dc.ServerVersion()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	known = d.byVersion[v.GitVersion]
	if known != nil {
		d.heard(cfg.Host, v.GitVersion)
	}
	d.mu.Unlock()
	if known != nil {
		return known, nil
	}
	cached := memory.NewMemCacheClient(dc)
	groups, err := restmapper.GetAPIGroupResources(cached)
	if err != nil {
		return nil, err
	}
	versions, err := action.GetVersionSet(cached)
	var partial *discovery.ErrGroupDiscoveryFailed
	if err != nil && !errors.As(err, &partial) {
		return nil, err
	}
	found := &Served{
		version: v.GitVersion,
		mapper:  restmapper.NewDiscoveryRESTMapper(groups),
		capabilities: &chartutil.Capabilities{
			APIVersions: versions,
			KubeVersion: chartutil.KubeVersion{Version: v.GitVersion, Major: v.Major, Minor: v.Minor},
			HelmVersion: chartutil.DefaultCapabilities.HelmVersion,
		},
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byVersion == nil {
		d.byVersion = map[string]*Served{}
	}
	d.byVersion[v.GitVersion] = found
	d.heard(cfg.Host, v.GitVersion)
	return found, nil
}

func (d *Discovery) heard(host, version string) {
	if d.byHost == nil {
		d.byHost = map[string]answer{}
	}
	d.byHost[host] = answer{version, time.Now()}
}

// Forget drops what is remembered of a version, after a kind was not found.
func (d *Discovery) Forget(s *Served) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.byVersion, s.version)
}
