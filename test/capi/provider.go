// SPDX-License-Identifier: Apache-2.0

package capi

// Provider is one of Cluster API's managers with its kinds.
type Provider struct {
	// Name is how Cluster API calls it, and the name of its program.
	Name string
	// Module is where it comes from, and Dir the folder with its main package and its config.
	Module, Dir string
	// FeatureGates are those that it is started with.
	FeatureGates string
	// Workers are the flags that say how many objects of a kind it works on at a time.
	Workers []string
}

const module = "sigs.k8s.io/cluster-api"

// The managers that a Cluster with a topology, kubeadm and machines in memory takes.
var (
	// Core has Clusters, ClusterClasses and Machines, and calls the hooks of extensions.
	Core = Provider{
		Name: "cluster-api", Module: module, Dir: "core",
		FeatureGates: "ClusterTopology=true,RuntimeSDK=true",
		Workers: []string{
			"cluster", "clusterclass", "clustertopology", "clusterresourceset", "clustercache", "extensionconfig",
			"machine", "machineset", "machinedeployment", "machinepool", "machinehealthcheck",
		},
	}
	// KubeadmBootstrap has KubeadmConfigs.
	KubeadmBootstrap = Provider{
		Name: "bootstrap-kubeadm", Module: module, Dir: "bootstrap/kubeadm",
		FeatureGates: "ClusterTopology=true", Workers: []string{"kubeadmconfig", "clustercache"},
	}
	// KubeadmControlPlane has KubeadmControlPlanes.
	KubeadmControlPlane = Provider{
		Name: "control-plane-kubeadm", Module: module, Dir: "controlplane/kubeadm",
		FeatureGates: "ClusterTopology=true", Workers: []string{"kubeadmcontrolplane", "clustercache"},
	}
	// Dev has machines that are played in memory, each cluster with an API server that is just
	// enough for Cluster API. It listens on ports of its own choice (19000, 20000 and following),
	// so that a machine runs one of it.
	Dev = Provider{
		Name: "infrastructure-docker", Module: module + "/test", Dir: "infrastructure/docker",
		FeatureGates: "ClusterTopology=true",
		Workers:      []string{"devcluster", "devmachine", "devmachinetemplate", "clustercache"},
	}
)

// Providers are all four, in the order in which they are installed.
func Providers() []Provider { return []Provider{Core, KubeadmBootstrap, KubeadmControlPlane, Dev} }
