// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"errors"
	"sync"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Discovery remembers what API servers of each version serve, for all clusters
// together: Fairlead's charts hold built-in kinds only, and those depend on nothing
// but the version. Discovery per cluster and release is what makes Helm slow over a
// fleet. Its zero value is ready; it may be used concurrently.
type Discovery struct {
	mu        sync.Mutex
	byVersion map[string]*apis
}

// apis is what API servers of one version serve.
type apis struct {
	mapper       meta.RESTMapper
	capabilities *chartutil.Capabilities
}

// of returns what the API server serves, asking for its version only when another
// server of that version was asked before.
func (d *Discovery) of(cfg *rest.Config) (*apis, string, error) {
	dc, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, "", err
	}
	v, err := dc.ServerVersion()
	if err != nil {
		return nil, "", err
	}
	d.mu.Lock()
	known := d.byVersion[v.GitVersion]
	d.mu.Unlock()
	if known != nil {
		return known, v.GitVersion, nil
	}
	cached := memory.NewMemCacheClient(dc)
	groups, err := restmapper.GetAPIGroupResources(cached)
	if err != nil {
		return nil, "", err
	}
	versions, err := action.GetVersionSet(cached)
	var partial *discovery.ErrGroupDiscoveryFailed
	if err != nil && !errors.As(err, &partial) {
		return nil, "", err
	}
	found := &apis{
		mapper: restmapper.NewDiscoveryRESTMapper(groups),
		capabilities: &chartutil.Capabilities{
			APIVersions: versions,
			KubeVersion: chartutil.KubeVersion{Version: v.GitVersion, Major: v.Major, Minor: v.Minor},
			HelmVersion: chartutil.DefaultCapabilities.HelmVersion,
		},
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byVersion == nil {
		d.byVersion = map[string]*apis{}
	}
	d.byVersion[v.GitVersion] = found
	return found, v.GitVersion, nil
}

// forget drops what is remembered of a version, after a kind was not found.
func (d *Discovery) forget(version string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.byVersion, version)
}

// getter hands Helm a fixed configuration and the shared mapper.
type getter struct {
	cfg       *rest.Config
	namespace string
	mapper    meta.RESTMapper
}

func (g *getter) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(g.cfg), nil }

func (g *getter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	dc, err := discovery.NewDiscoveryClientForConfig(g.cfg)
	if err != nil {
		return nil, err
	}
	return memory.NewMemCacheClient(dc), nil
}

func (g *getter) ToRESTMapper() (meta.RESTMapper, error) { return g.mapper, nil }

func (g *getter) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	return clientcmd.NewDefaultClientConfig(clientcmdapi.Config{},
		&clientcmd.ConfigOverrides{Context: clientcmdapi.Context{Namespace: g.namespace}})
}
