// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Defaults of the settings.
const (
	DefaultDir        = ".lab"
	DefaultNodes      = 2
	DefaultClusters   = "alpha bravo"
	DefaultKubernetes = "v1.35.4"
	DefaultKubeProxy  = NoCluster
)

// What LAB_KUBE_PROXY, and NoCluster LAB_CLUSTERS too, may say in place of names.
const (
	AllClusters = "all"
	NoCluster   = "none"
)

// HubName is the name of the management cluster. Every lab has it, beside the clusters of LAB_CLUSTERS.
const HubName = "hub"

// The limits of the settings. The addressing has room for them, one machine's interface names too.
const (
	maxNodes    = 100
	maxClusters = 31
)

// switchOn is what LAB_CAPI says to have Cluster API.
const switchOn = "on"

var (
	clusterName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,8}[a-z0-9])?$`)
	version     = regexp.MustCompile(`^v1\.[0-9]+\.[0-9]+$`)
)

// Settings are what people choose about a lab.
type Settings struct {
	Dir        string   // LAB_DIR: the lab's state, as an absolute path.
	Nodes      int      // LAB_NODES: worker nodes in each workload cluster.
	Clusters   []string // LAB_CLUSTERS: names of the workload clusters.
	Kubernetes string   // LAB_KUBERNETES: version, for example v1.35.4.
	Also       []string // LAB_KUBERNETES_ALSO: versions that clusters may be born with or upgraded to, beside Kubernetes.
	KubeProxy  []string // LAB_KUBE_PROXY: the workload clusters that start with kube-proxy.
	CAPI       bool     // LAB_CAPI: Cluster API runs for the hub, and makes clusters out of Cluster objects.
	Bin        string   // LAB_BIN: a folder with prebuilt binaries, or empty.
}

// FromEnv reads the settings by the given lookup. workDir makes relative paths absolute.
func FromEnv(lookup func(string) string, workDir string) (Settings, error) {
	get := func(name, fallback string) string {
		if v := strings.TrimSpace(lookup(name)); v != "" {
			return v
		}
		return fallback
	}
	absolute := func(p string) string {
		if p == "" || filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(workDir, p)
	}
	nodes, err := strconv.Atoi(get("LAB_NODES", strconv.Itoa(DefaultNodes)))
	if err != nil {
		return Settings{}, fmt.Errorf("LAB_NODES=%q is no number: give the nodes per cluster, for example LAB_NODES=2", lookup("LAB_NODES"))
	}
	s := Settings{
		Dir:        filepath.Clean(absolute(get("LAB_DIR", DefaultDir))),
		Nodes:      nodes,
		Clusters:   names(get("LAB_CLUSTERS", DefaultClusters)),
		Kubernetes: get("LAB_KUBERNETES", DefaultKubernetes),
		Also:       names(get("LAB_KUBERNETES_ALSO", "")),
		KubeProxy:  names(get("LAB_KUBE_PROXY", DefaultKubeProxy)),
		Bin:        absolute(get("LAB_BIN", "")),
	}
	if slices.Equal(s.Clusters, []string{NoCluster}) {
		s.Clusters = nil
	}
	switch v := get("LAB_CAPI", "off"); v {
	case switchOn:
		s.CAPI = true
	case "off":
	default:
		return s, fmt.Errorf("LAB_CAPI=%q is unknown: give on or off", v)
	}
	switch get("LAB_KUBE_PROXY", DefaultKubeProxy) {
	case AllClusters:
		s.KubeProxy = s.Clusters
	case NoCluster:
		s.KubeProxy = nil
	}
	return s, s.validate()
}

// names splits at spaces and commas; there may be none.
func names(list string) []string {
	return slices.Clip(append([]string(nil), strings.Fields(strings.ReplaceAll(list, ",", " "))...))
}

func (s Settings) validate() error {
	if s.Nodes < 1 || s.Nodes > maxNodes {
		return fmt.Errorf("LAB_NODES=%d is out of range: give 1 to %d", s.Nodes, maxNodes)
	}
	if len(s.Clusters) > maxClusters {
		return fmt.Errorf("LAB_CLUSTERS names %d clusters: give at most %d", len(s.Clusters), maxClusters)
	}
	if !version.MatchString(s.Kubernetes) {
		return fmt.Errorf("LAB_KUBERNETES=%q is no release: write it like %s", s.Kubernetes, DefaultKubernetes)
	}
	for _, v := range s.Also {
		if !version.MatchString(v) {
			return fmt.Errorf("LAB_KUBERNETES_ALSO: %q is no release: write it like %s", v, DefaultKubernetes)
		}
	}
	if s.CAPI && len(s.Clusters) > 0 {
		return fmt.Errorf("LAB_CAPI=on makes clusters out of Cluster objects, so LAB_CLUSTERS can name none: set LAB_CLUSTERS=%s", NoCluster)
	}
	seen := map[string]bool{HubName: true}
	for _, name := range s.Clusters {
		if !clusterName.MatchString(name) {
			return fmt.Errorf("LAB_CLUSTERS: %q cannot be a cluster name: use 1 to 10 of a-z, 0-9 and -, beginning with a letter", name)
		}
		if seen[name] {
			return fmt.Errorf("LAB_CLUSTERS: %q is there twice (%q always exists): give each cluster a name of its own", name, HubName)
		}
		seen[name] = true
	}
	for _, name := range s.KubeProxy {
		if !slices.Contains(s.Clusters, name) {
			return fmt.Errorf("LAB_KUBE_PROXY: %q is none of the clusters of LAB_CLUSTERS: give some of %v, %s or %s", name, s.Clusters, AllClusters, NoCluster)
		}
	}
	return nil
}
