// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	runtimehooksv1 "sigs.k8s.io/cluster-api/api/runtime/hooks/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

const (
	// Variable is the variable of a Cluster's topology that Fairlead reads.
	Variable = "fairlead"

	kubeadmTemplate = "KubeadmControlPlaneTemplate"
	// skipAnnotation keeps kubeadm's control plane provider, and others that follow it, from
	// kube-proxy.
	skipAnnotation = "controlplane.cluster.x-k8s.io/skip-kube-proxy"
	skipPhase      = "addon/kube-proxy"
)

// What the variable may say of kube-proxy.
const (
	kubeProxyAuto = "Auto"
	kubeProxyKeep = "Keep"
	kubeProxySkip = "Skip"
)

// variable is the value of the topology's variable.
type variable struct {
	// KubeProxy is Auto, the default (skipped where the NetworkStack replaces it), Keep or Skip.
	KubeProxy string `json:"kubeProxy,omitempty"`
}

// DiscoverVariables tells Cluster API the variable's schema, by which its admission refuses values
// of another type.
func (h *Hooks) DiscoverVariables(_ context.Context, _ *runtimehooksv1.DiscoverVariablesRequest, resp *runtimehooksv1.DiscoverVariablesResponse) {
	required := false
	resp.SetStatus(runtimehooksv1.ResponseStatusSuccess)
	resp.Variables = []clusterv1.ClusterClassVariable{{
		Name: Variable, Required: &required,
		Schema: clusterv1.VariableSchema{OpenAPIV3Schema: clusterv1.JSONSchemaProps{
			Type: "object", Description: "What Fairlead does to the control plane's templates.",
			Properties: map[string]clusterv1.JSONSchemaProps{"kubeProxy": {
				Type:        "string",
				Description: "Auto, the default: kube-proxy is skipped where the NetworkStack replaces it. Keep, Skip: it is not, or is, in any case.",
				Enum:        []apiextensionsv1.JSON{quoted(kubeProxyAuto), quoted(kubeProxyKeep), quoted(kubeProxySkip)},
			}},
		}},
	}}
}

func quoted(s string) apiextensionsv1.JSON {
	return apiextensionsv1.JSON{Raw: []byte(strconv.Quote(s))}
}

// GeneratePatches keeps kube-proxy out of clusters whose NetworkStack replaces it, and has nodes get
// pod ranges that fit into the cluster's.
func (h *Hooks) GeneratePatches(ctx context.Context, req *runtimehooksv1.GeneratePatchesRequest, resp *runtimehooksv1.GeneratePatchesResponse) {
	began := time.Now()
	items, err := h.patches(ctx, req)
	resp.SetStatus(runtimehooksv1.ResponseStatusSuccess)
	resp.Items = items
	result := "done"
	if err != nil {
		result = "failed"
		resp.SetStatus(runtimehooksv1.ResponseStatusFailure)
		resp.SetMessage("Fairlead: " + err.Error())
	}
	if h.Observe != nil {
		h.Observe("GeneratePatches", result, time.Since(began))
	}
}

func (h *Hooks) patches(ctx context.Context, req *runtimehooksv1.GeneratePatchesRequest) ([]runtimehooksv1.GeneratePatchesResponseItem, error) {
	v, builtin, err := variables(req.Variables)
	if err != nil {
		return nil, err
	}
	var out []runtimehooksv1.GeneratePatchesResponseItem
	for i := range req.Items {
		item := &req.Items[i]
		if item.HolderReference.FieldPath != "spec.controlPlaneRef" {
			continue
		}
		skip, err := h.skips(ctx, v, client.ObjectKey{Namespace: item.HolderReference.Namespace, Name: item.HolderReference.Name})
		if err != nil {
			return nil, err
		}
		patch, err := controlPlanePatch(item.Object.Raw, skip, pods(builtin))
		if err != nil {
			return nil, err
		}
		if patch != nil {
			out = append(out, runtimehooksv1.GeneratePatchesResponseItem{UID: item.UID, PatchType: runtimehooksv1.JSONMergePatchType, Patch: patch})
		}
	}
	return out, nil
}

// variables are the value of ours, and the Cluster's own.
func variables(in []runtimehooksv1.Variable) (v variable, builtin runtimehooksv1.Builtins, err error) {
	for i := range in {
		switch in[i].Name {
		case runtimehooksv1.BuiltinsName:
			if err := json.Unmarshal(in[i].Value.Raw, &builtin); err != nil {
				return v, builtin, fmt.Errorf("variable %s of the Cluster cannot be read: %w", runtimehooksv1.BuiltinsName, err)
			}
		case Variable:
			strict := json.NewDecoder(bytes.NewReader(in[i].Value.Raw))
			strict.DisallowUnknownFields()
			err := strict.Decode(&v)
			if err == nil && !slices.Contains([]string{"", kubeProxyAuto, kubeProxyKeep, kubeProxySkip}, v.KubeProxy) {
				err = fmt.Errorf("kubeProxy is %q", v.KubeProxy)
			}
			if err != nil {
				return v, builtin, fmt.Errorf("spec.topology.variables[name=%s] of the Cluster: %w: write {kubeProxy: Auto}, Keep or Skip, or leave it out", Variable, err)
			}
		}
	}
	return v, builtin, nil
}

func pods(b runtimehooksv1.Builtins) []string {
	if b.Cluster == nil || b.Cluster.Network == nil {
		return nil
	}
	return b.Cluster.Network.Pods
}

// skips says whether a cluster is to have no kube-proxy.
func (h *Hooks) skips(ctx context.Context, v variable, key client.ObjectKey) (bool, error) {
	switch v.KubeProxy {
	case kubeProxySkip:
		return true, nil
	case kubeProxyKeep:
		return false, nil
	}
	c := &clusterv1.Cluster{}
	if err := h.Support.Reader.Get(ctx, key, c); err != nil {
		return false, fmt.Errorf("reading Cluster %s: %w", key, err)
	}
	plan, err := h.Support.plan(ctx, c)
	if err != nil || plan == nil {
		return false, err
	}
	return plan.CNI.KubeProxyReplacement == v1alpha1.KubeProxyReplacementEnabled, nil
}

// controlPlanePatch is the merge patch (RFC 7396) of a control plane's template, nil for none.
func controlPlanePatch(raw []byte, skip bool, pods []string) ([]byte, error) {
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal(raw, &u.Object); err != nil {
		return nil, fmt.Errorf("the control plane's template cannot be read: %w", err)
	}
	patch := map[string]any{}
	if skip {
		set(patch, "", "spec", "template", "metadata", "annotations", skipAnnotation)
	}
	if u.GetKind() == kubeadmTemplate {
		patchKubeadm(u, patch, skip, pods)
	}
	if len(patch) == 0 {
		return nil, nil
	}
	return json.Marshal(patch)
}

func patchKubeadm(u *unstructured.Unstructured, patch map[string]any, skip bool, pods []string) {
	config := []string{"spec", "template", "spec", "kubeadmConfigSpec"}
	at := func(more ...string) []string { return append(slices.Clone(config), more...) }
	if skip {
		phases, _, _ := unstructured.NestedStringSlice(u.Object, at("initConfiguration", "skipPhases")...)
		if !slices.Contains(phases, skipPhase) {
			set(patch, append(phases, skipPhase), at("initConfiguration", "skipPhases")...)
		}
	}
	args := nodeMasks(pods)
	if len(args) == 0 {
		return
	}
	where := at("clusterConfiguration", "controllerManager", "extraArgs")
	if strings.HasSuffix(u.GetAPIVersion(), "/v1beta1") { // a map until v1beta2
		for name, value := range args {
			if _, is, _ := unstructured.NestedString(u.Object, append(where, name)...); !is {
				set(patch, value, append(where, name)...)
			}
		}
		return
	}
	list, _, _ := unstructured.NestedSlice(u.Object, where...)
	for _, name := range []string{maskSingle, maskIPv4, maskIPv6} {
		value, wanted := args[name]
		is := slices.ContainsFunc(list, func(a any) bool { m, ok := a.(map[string]any); return ok && m["name"] == name })
		if wanted && !is {
			list = append(list, map[string]any{"name": name, "value": value})
		}
	}
	set(patch, list, where...)
}

const (
	maskIPv4 = "node-cidr-mask-size-ipv4"
	maskIPv6 = "node-cidr-mask-size-ipv6"
	// maskSingle is for clusters of one family.
	maskSingle = "node-cidr-mask-size"
)

// nodeMasks are the lengths of nodes' pod ranges where kube-controller-manager's own, 24 and 64,
// do not go with the cluster's: it gives a node no more than 2^16-th of a range, and a cluster
// has room for 16 nodes at least.
func nodeMasks(pods []string) map[string]string {
	out := map[string]string{}
	for _, text := range pods {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		name, usual, longest := maskIPv4, 24, 28
		if p.Addr().Is6() {
			name, usual, longest = maskIPv6, 64, 112
		}
		mask := min(max(usual, p.Bits()+4), p.Bits()+16, longest)
		if mask != usual && mask >= p.Bits() {
			out[name] = strconv.Itoa(mask)
		}
	}
	if len(pods) == 1 && len(out) == 1 { // those of one family only are refused with one family
		for _, value := range out {
			return map[string]string{maskSingle: value}
		}
	}
	return out
}

// set sets a field of a patch.
func set(patch map[string]any, value any, path ...string) {
	for _, key := range path[:len(path)-1] {
		next, ok := patch[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			patch[key] = next
		}
		patch = next
	}
	patch[path[len(path)-1]] = value
}
