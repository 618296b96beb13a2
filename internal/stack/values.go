// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// Mode is what the chart's agents do on the nodes.
type Mode string

const (
	// ModeRun runs the network.
	ModeRun Mode = "run"
	// ModeCleanup removes all of ours from every node.
	ModeCleanup Mode = "cleanup"
)

// Facts is what the chart needs to know of a Cluster.
type Facts struct {
	// Namespace and Name of the Cluster, for messages.
	Namespace, Name string
	// EndpointHost and EndpointPort are Cluster.spec.controlPlaneEndpoint.
	EndpointHost string
	EndpointPort int32
	// KubeconfigServer is the URL of the kubeconfig, used when the endpoint is not set.
	KubeconfigServer string
	// PodCIDRs are Cluster.spec.clusterNetwork.pods.cidrBlocks.
	PodCIDRs []string
}

// Image says where the image of the controller and the agents is.
type Image struct {
	Repository string
}

// FactsError is a Cluster that cannot be given a network as it is. Reason is one of
// api's reasons of the condition Released.
type FactsError struct {
	Reason, Message string
}

func (e *FactsError) Error() string { return e.Message }

// Values returns the values of the cni chart for one cluster. The error is a
// *FactsError that names the Cluster's field and the fix.
func Values(spec *v1alpha1.ClusterStackSpec, facts Facts, image Image, mode Mode) (map[string]any, error) {
	host, port, err := Endpoint(facts)
	if err != nil {
		return nil, err
	}
	cidrs, err := podCIDRs(facts)
	if err != nil {
		return nil, err
	}
	cni := *spec.CNI.DeepCopy()
	fillDefaults(&cni)
	exceptions := make([]any, 0, len(cni.MasqueradeExceptions))
	for _, e := range cni.MasqueradeExceptions {
		exceptions = append(exceptions, string(e))
	}
	return map[string]any{
		"image":       map[string]any{"repository": image.Repository, "tag": spec.Version},
		"clusterName": facts.Name,
		"apiServer":   map[string]any{"host": host, "port": int64(port)},
		"cluster":     map[string]any{"podCIDRs": cidrs},
		"routing":     map[string]any{"mode": string(cni.Routing.Mode)},
		"tunnel":      map[string]any{"port": int64(cni.Tunnel.Port)},
		"mtu":         int64(cni.MTU),
		"masquerade":  *cni.Masquerade,

		"masqueradeExceptions": exceptions,

		"flowTable": map[string]any{"entries": int64(cni.FlowTable.Entries)},
		"policies": map[string]any{
			"entries":  int64(cmp.Or(cni.Policies.Entries, v1alpha1.DefaultPolicyEntries)),
			"peerWait": cni.Policies.PeerWait.Duration().Duration.String(),
		},
		"services": map[string]any{
			"enabled":    cni.KubeProxyReplacement == v1alpha1.KubeProxyReplacementEnabled,
			"forwarding": string(cni.Services.Forwarding),
			"frontends":  int64(cni.Services.Frontends),
			"backends":   int64(cni.Services.Backends),
		},
		"agent": agentValues(spec.Agents),
		"mode":  string(mode),
	}, nil
}

// defaultMinReadySeconds is how long a new agent is ready before the next node follows.
const defaultMinReadySeconds = 10

// agentValues say how agents are replaced: with a surge, or without an agent for a while.
// The chart has the defaults, of which one is that a node at least may be without.
func agentValues(u v1alpha1.AgentUpdateSpec) map[string]any {
	out := map[string]any{"minReadySeconds": int64(defaultMinReadySeconds)}
	if u.MinReadySeconds != nil {
		out["minReadySeconds"] = int64(*u.MinReadySeconds)
	}
	if u.MaxUnavailable != nil && !Surges(u) {
		out["maxUnavailable"] = amountValue(u.MaxUnavailable)
	}
	if u.MaxSurge != nil {
		out["maxSurge"] = amountValue(u.MaxSurge)
	}
	return out
}

// Surges says whether new agents start beside the old ones.
func Surges(u v1alpha1.AgentUpdateSpec) bool {
	return u.MaxSurge != nil && atLeast(u.MaxSurge, "", 100) > 0
}

// amountValue is an amount as a chart's value.
func amountValue(a *intstr.IntOrString) any {
	if a.Type == intstr.Int {
		return int64(a.IntVal)
	}
	return a.StrVal
}

// Endpoint is where the API server of a Cluster is reached without a Service. The error is a
// *FactsError.
func Endpoint(f Facts) (string, int32, error) {
	if f.EndpointHost != "" && f.EndpointPort > 0 {
		return f.EndpointHost, f.EndpointPort, nil
	}
	missing := func(why string) error {
		return &FactsError{v1alpha1.ReasonEndpointMissing, fmt.Sprintf(
			"Cluster %s/%s has no spec.controlPlaneEndpoint (host and port) and the server of its kubeconfig cannot stand in (%s): set spec.controlPlaneEndpoint of the Cluster",
			f.Namespace, f.Name, why)}
	}
	u, err := url.Parse(f.KubeconfigServer)
	if err != nil || u.Hostname() == "" {
		return "", 0, missing(fmt.Sprintf("it is %q", f.KubeconfigServer))
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || (ip != nil && ip.IsLoopback()) {
		return "", 0, missing(fmt.Sprintf("%s is an address of the machine itself", u.Hostname()))
	}
	port := int64(443)
	if p := u.Port(); p != "" {
		if port, err = strconv.ParseInt(p, 10, 32); err != nil {
			return "", 0, missing(fmt.Sprintf("its port is %q", p))
		}
	}
	return u.Hostname(), int32(port), nil
}

// podCIDRs returns the Cluster's pod ranges as a JSON-like list.
func podCIDRs(f Facts) ([]any, error) {
	if len(f.PodCIDRs) == 0 {
		return nil, &FactsError{v1alpha1.ReasonPodCIDRsMissing, fmt.Sprintf(
			"Cluster %s/%s has no spec.clusterNetwork.pods.cidrBlocks: set the ranges that its pods have, the same as the cluster's controller-manager was given",
			f.Namespace, f.Name)}
	}
	out := make([]any, 0, len(f.PodCIDRs))
	for i, c := range f.PodCIDRs {
		p, err := netip.ParsePrefix(c)
		if err != nil {
			return nil, &FactsError{v1alpha1.ReasonPodCIDRsInvalid, fmt.Sprintf(
				"spec.clusterNetwork.pods.cidrBlocks[%d] of Cluster %s/%s is %q, which is not a range of addresses such as 10.244.0.0/16: correct it",
				i, f.Namespace, f.Name, c)}
		}
		out = append(out, p.Masked().String())
	}
	return out, nil
}
