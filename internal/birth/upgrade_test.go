// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"encoding/json"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	runtimehooksv1 "sigs.k8s.io/cluster-api/api/runtime/hooks/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// two versions of Fairlead: the newer one supports a newer Kubernetes, and needs a newer kernel.
var two = stack.Versions{
	Own: "v0.2.0", Available: []string{"v0.1.0", "v0.2.0"},
	Requires: map[string]stack.Requirements{
		"v0.1.0": {Kubernetes: ">=1.33.0-0 <1.36.0-0", Kernel: ">=6.1.0-0"},
		"v0.2.0": {Kubernetes: ">=1.34.0-0", Kernel: ">=6.6.0-0"},
	},
}

// network is a NetworkStack of all Clusters.
func (s *story) network(set func(*v1alpha1.NetworkStack)) {
	n := &v1alpha1.NetworkStack{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "net"}, Spec: v1alpha1.NetworkStackSpec{AllClusters: true, Version: "v0.1.0"}}
	set(n)
	s.create(n)
}

// proven is a ClusterStack whose cluster runs a version.
func (s *story) proven(version string) {
	cs := &v1alpha1.ClusterStack{}
	key := client.ObjectKey{Namespace: s.ns, Name: "a"}
	if hub.Client.Get(s.ctx, key, cs) != nil {
		cs = &v1alpha1.ClusterStack{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "a"}, Spec: v1alpha1.ClusterStackSpec{
			NetworkStack: "net", ClusterName: "a", Version: version, PlanDigest: "0123456789abcdef0123456789abcdef"}}
		s.create(cs)
	}
	cs.Status.Proven = &v1alpha1.ProvenStatus{Version: version, PlanDigest: "0123456789abcdef0123456789abcdef", Time: metav1.Now()}
	s.Expect(hub.Client.Status().Update(s.ctx, cs)).To(Succeed())
}

// upgrade is BeforeClusterUpgrade, or BeforeWorkersUpgrade.
func (r *replica) upgrade(c *clusterv1.Cluster, workers bool, to string) (*runtimehooksv1.CommonRetryResponse, error) {
	if workers {
		resp := &runtimehooksv1.BeforeWorkersUpgradeResponse{}
		err := r.call(runtimehooksv1.BeforeWorkersUpgrade, "support-workers", &runtimehooksv1.BeforeWorkersUpgradeRequest{
			Cluster: *c, FromKubernetesVersion: "v1.35.4", ToKubernetesVersion: to}, resp)
		return &resp.CommonRetryResponse, err
	}
	resp := &runtimehooksv1.BeforeClusterUpgradeResponse{}
	err := r.call(runtimehooksv1.BeforeClusterUpgrade, "support", &runtimehooksv1.BeforeClusterUpgradeRequest{
		Cluster: *c, FromKubernetesVersion: "v1.34.4", ToKubernetesVersion: "v1.35.4",
		ControlPlaneUpgrades: []runtimehooksv1.UpgradeStepInfo{{Version: "v1.35.4"}, {Version: to}}}, resp)
	return &resp.CommonRetryResponse, err
}

func TestAnUpgradeWaitsForANetworkThatSupportsIt(t *testing.T) {
	for _, workers := range []bool{false, true} {
		t.Run(map[bool]string{false: "cluster", true: "workers"}[workers], func(t *testing.T) {
			s := begin(t)
			s.network(func(*v1alpha1.NetworkStack) {})
			s.create(s.cluster("a"))
			s.proven("v0.1.0")
			r := s.replica(two)
			for _, c := range []struct{ to, hold string }{
				{"v1.35.9", ""},
				{"v1.36.0", "Fairlead v0.1.0 needs Kubernetes >=1.33.0-0 <1.36.0-0, and there is v1.36.0: set spec.version of NetworkStack net to one that does: [v0.2.0]; this goes on as soon as the cluster's network has moved"},
			} {
				got, err := r.upgrade(s.get("a"), workers, c.to)
				s.Expect(err).NotTo(HaveOccurred())
				s.Expect(got.Message).To(Equal(c.hold), c.to)
				s.Expect(got.RetryAfterSeconds > 0).To(Equal(c.hold != ""), c.to)
			}
			s.proven("v0.2.0")
			s.Eventually(func(g Gomega) {
				got, err := r.upgrade(s.get("a"), workers, "v1.36.0")
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(got.RetryAfterSeconds).To(BeZero(), got.Message)
			}).Should(Succeed())
		})
	}
}

func TestNodesWithAKernelThatTheNetworkDoesNotSupportWait(t *testing.T) {
	s := begin(t)
	s.network(func(*v1alpha1.NetworkStack) {})
	c := s.cluster("a")
	c.Annotations = map[string]string{v1alpha1.AnnotationNodeKernel: "5.15.0-91-generic"}
	s.create(c)
	s.proven("v0.1.0")
	got, err := s.replica(two).upgrade(s.get("a"), true, "v1.35.4")
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(got.RetryAfterSeconds).To(BeEquivalentTo(whileHeld))
	s.Expect(got.Message).To(ContainSubstring("needs Linux >=6.1.0-0, and there is 5.15.0-91-generic: give the operator the chart of a version that does"))
}

func TestACreationWaitsForANetworkThatSupportsIt(t *testing.T) {
	s := begin(t)
	s.network(func(*v1alpha1.NetworkStack) {})
	c := s.cluster("a")
	c.Spec.Topology.Version = "v1.36.1"
	s.create(c)
	resp, err := s.replica(two).create(s.get("a"))
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(resp.RetryAfterSeconds).To(BeEquivalentTo(whileHeld))
	s.Expect(resp.Message).To(ContainSubstring("and there is v1.36.1: set spec.version of NetworkStack net"))
}

const kubeadm = `{"apiVersion":"controlplane.cluster.x-k8s.io/v1beta2","kind":"KubeadmControlPlaneTemplate","metadata":{"name":"t"},
 "spec":{"template":{"spec":{"kubeadmConfigSpec":{"initConfiguration":{"skipPhases":["addon/coredns"]}}}}}}`

func TestTheControlPlanesTemplate(t *testing.T) {
	for _, c := range []struct {
		name     string
		replaces bool
		variable string
		pods     string
		want     string
	}{
		{"kube-proxy is replaced", true, "", "10.64.0.0/16", `{"spec":{"template":{"metadata":{"annotations":{"controlplane.cluster.x-k8s.io/skip-kube-proxy":""}},"spec":{"kubeadmConfigSpec":{"initConfiguration":{"skipPhases":["addon/coredns","addon/kube-proxy"]}}}}}}`},
		{"kube-proxy stays", false, "", "10.64.0.0/16", ""},
		{"the variable has the word", true, `{"kubeProxy":"Keep"}`, "10.64.0.0/16", ""},
		{"a range too small for /24s", false, "", "10.64.0.0/22", `{"spec":{"template":{"spec":{"kubeadmConfigSpec":{"clusterConfiguration":{"controllerManager":{"extraArgs":[{"name":"node-cidr-mask-size","value":"26"}]}}}}}}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := begin(t)
			s.network(func(n *v1alpha1.NetworkStack) {
				if c.replaces {
					n.Spec.CNI.KubeProxyReplacement = v1alpha1.KubeProxyReplacementEnabled
				}
			})
			s.create(s.cluster("a"))
			got := s.patches(s.replica(two), c.variable, c.pods)
			s.Expect(got.Status).To(Equal(runtimehooksv1.ResponseStatusSuccess), got.Message)
			if c.want == "" {
				s.Expect(got.Items).To(BeEmpty())
				return
			}
			s.Expect(got.Items).To(HaveLen(1))
			s.Expect(string(got.Items[0].Patch)).To(MatchJSON(c.want))
		})
	}
}

func TestAVariableOfAnotherTypeIsRefused(t *testing.T) {
	s := begin(t)
	s.create(s.cluster("a"))
	r := s.replica(two)
	for _, value := range []string{`true`, `{"kubeProxy":1}`, `{"kubeProxy":"Never"}`, `{"kubeproxy2":"Keep"}`} {
		got := s.patches(r, value, "10.64.0.0/16")
		s.Expect(got.Status).To(Equal(runtimehooksv1.ResponseStatusFailure), value)
		s.Expect(got.Message).To(ContainSubstring("spec.topology.variables[name=fairlead] of the Cluster"), value)
		s.Expect(got.Message).To(ContainSubstring("write {kubeProxy: Auto}, Keep or Skip, or leave it out"), value)
	}
}

// patches is GeneratePatches for kubeadm's template.
func (s *story) patches(r *replica, variable, pods string) *runtimehooksv1.GeneratePatchesResponse {
	s.t.Helper()
	builtin, err := json.Marshal(runtimehooksv1.Builtins{Cluster: &runtimehooksv1.ClusterBuiltins{Network: &runtimehooksv1.ClusterNetworkBuiltins{Pods: []string{pods}}}})
	s.Expect(err).NotTo(HaveOccurred())
	req := &runtimehooksv1.GeneratePatchesRequest{Items: []runtimehooksv1.GeneratePatchesRequestItem{{
		UID: types.UID("1"), Object: runtime.RawExtension{Raw: []byte(kubeadm)},
		HolderReference: runtimehooksv1.HolderReference{Kind: "Cluster", Namespace: s.ns, Name: "a", FieldPath: "spec.controlPlaneRef"},
	}}}
	req.Variables = append(req.Variables, named(runtimehooksv1.BuiltinsName, builtin))
	if variable != "" {
		req.Variables = append(req.Variables, named(Variable, []byte(variable)))
	}
	resp := &runtimehooksv1.GeneratePatchesResponse{}
	s.Expect(r.call(runtimehooksv1.GeneratePatches, "generate-patches", req, resp)).To(Succeed())
	return resp
}

func named(name string, raw []byte) runtimehooksv1.Variable {
	v := runtimehooksv1.Variable{Name: name}
	v.Value.Raw = raw
	return v
}
