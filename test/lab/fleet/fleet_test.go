// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairlead-io/fairlead/test/lab/plan"
)

func alpha() plan.Cluster {
	return plan.New(plan.Settings{Dir: "/x", Nodes: 1, Clusters: []string{"alpha"}}).Clusters[1]
}

func TestClusterFollowsTheContract(t *testing.T) {
	u := clusterObject(alpha())
	for _, tc := range []struct {
		want string
		path []string
	}{
		{"172.30.1.2", []string{"spec", "controlPlaneEndpoint", "host"}},
		{"Provisioned", []string{"status", "phase"}},
		{"LabCluster", []string{"spec", "infrastructureRef", "kind"}},
	} {
		if got, _, err := unstructured.NestedString(u.Object, tc.path...); err != nil || got != tc.want {
			t.Errorf("%v is %q, %v; want %q", tc.path, got, err, tc.want)
		}
	}
	if pods, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "clusterNetwork", "pods", "cidrBlocks"); len(pods) != 2 || pods[0] != "10.33.0.0/16" {
		t.Errorf("pod ranges are %v", pods)
	}
	if done, _, _ := unstructured.NestedBool(u.Object, "status", "initialization", "controlPlaneInitialized"); !done {
		t.Error("the control plane is not initialized")
	}
	secret := kubeconfigSecret("alpha", []byte("x"))
	if secret.GetName() != "alpha-kubeconfig" || secret.GetLabels()["cluster.x-k8s.io/cluster-name"] != "alpha" || secret.Object["type"] != "cluster.x-k8s.io/secret" {
		t.Errorf("the Secret breaks the contract: %v %v %v", secret.GetName(), secret.GetLabels(), secret.Object["type"])
	}
}

func TestManifestsParse(t *testing.T) {
	objects, err := coreDNSObjects(alpha())
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]*unstructured.Unstructured{}
	for _, o := range objects {
		kinds[o.GetKind()] = o
	}
	ips, _, err := unstructured.NestedStringSlice(kinds["Service"].Object, "spec", "clusterIPs")
	if err != nil || len(ips) != 2 || ips[0] != "10.129.0.10" || ips[1] != "fd00:50:1::a" {
		t.Errorf("the DNS service has the addresses %v, %v", ips, err)
	}
	if len(objects) != 6 {
		t.Errorf("%d objects", len(objects))
	}
}

func TestParseRefusesJunk(t *testing.T) {
	if _, err := parse([]byte("a: [")); err == nil {
		t.Error("junk passes")
	}
	if objects, err := parse([]byte("---\n---\nkind: A\n---\n")); err != nil || len(objects) != 1 {
		t.Errorf("%d objects, %v; want 1", len(objects), err)
	}
}

func TestKubeProxyIsWhatKubeadmMakes(t *testing.T) {
	objects, err := kubeProxyObjects(alpha())
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]*unstructured.Unstructured{}
	for _, o := range objects {
		kinds[o.GetKind()] = o
	}
	d := kinds["DaemonSet"]
	if d.GetNamespace() != "kube-system" || d.GetName() != "kube-proxy" || d.GetLabels()["k8s-app"] != "kube-proxy" {
		t.Errorf("the DaemonSet is %s/%s with the labels %v", d.GetNamespace(), d.GetName(), d.GetLabels())
	}
	if c := kinds["ConfigMap"]; c.GetNamespace() != "kube-system" || c.GetName() != "kube-proxy" {
		t.Errorf("the configuration is in %s/%s", c.GetNamespace(), c.GetName())
	}
}
