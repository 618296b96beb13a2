// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// shortServiceSpecs are those of serviceSpecs that every run of the tests takes: one or two
// for each kind of Service, in a few minutes.
var shortServiceSpecs = []string{
	`Services should serve a basic endpoint from pods`,
	`Services should serve multiport endpoints from pods`,
	`Services should be able to create a functioning NodePort service`,
	`Services should have session affinity work for service with type clusterIP`,
	`Services should have session affinity work for NodePort service`,
	`Services should be rejected when no endpoints exist`,
	`Services should allow pods to hairpin back to themselves through services`,
	`Services should preserve source pod IP for traffic thru service cluster IP`,
	`Services should fallback to terminating endpoints when there are no ready endpoints with internalTrafficPolicy=Cluster`,
	`Services should respect internalTrafficPolicy=Local Pod to Pod`,
	`Services should support externalTrafficPolicy=Local for type=NodePort`,
	`Services should fail health check node port if there are only terminating endpoints`,
	`HostPort validates that there is no conflict between pods with same hostPort but different hostIP and protocol`,
	`Networking Granular Checks: Services should function for pod-Service: http`,
	`Networking Granular Checks: Services should function for pod-Service: udp`,
	`[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly] should function for pod-Service: udp`,
	`[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly] should function for node-Service: http`,
	`Conntrack should be able to preserve UDP traffic when server pod cycles for a ClusterIP service`,
}

// serviceSpecs are the specs about Services, by the words that begin their texts.
var serviceSpecs = []string{
	`Connectivity Pod Lifecycle should be able to connect from a Pod to a terminating Pod`,
	`Connectivity Pod Lifecycle should be able to connect to other Pod from a terminating Pod`,
	`Connectivity Pod Lifecycle should be able to have zero downtime on a Blue Green deployment using Services and Readiness Gates`,
	`Conntrack should be able to cleanup conntrack entries when UDP service target port changes for a NodePort service`,
	`Conntrack should be able to preserve UDP traffic when initial unready endpoints get ready`,
	`Conntrack should be able to preserve UDP traffic when server pod cycles for a ClusterIP service`,
	`Conntrack should be able to preserve UDP traffic when server pod cycles for a ClusterIP service and client is hostNetwork`,
	`Conntrack should be able to preserve UDP traffic when server pod cycles for a ClusterIP service with InternalTrafficPolicy set to Local`,
	`Conntrack should be able to preserve UDP traffic when server pod cycles for a NodePort service`,
	`EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service`,
	`EndpointSlice should create and delete EndpointSlices for a Service with a selector that matches no pods`,
	`EndpointSlice should support a Service with multiple endpoint IPs specified in multiple EndpointSlices`,
	`EndpointSlice should support a Service with multiple ports specified in multiple EndpointSlices`,
	`EndpointSlice should support creating EndpointSlice API operations`,
	`HostPort validates that there is no conflict between pods with same hostPort but different hostIP and protocol`,
	`Networking Granular Checks: Services should be able to handle large requests: http`,
	`Networking Granular Checks: Services should be able to handle large requests: udp`,
	`Networking Granular Checks: Services should function for client IP based session affinity: http`,
	`Networking Granular Checks: Services should function for client IP based session affinity: udp`,
	`Networking Granular Checks: Services should function for endpoint-Service: http`,
	`Networking Granular Checks: Services should function for endpoint-Service: udp`,
	`Networking Granular Checks: Services should function for multiple endpoint-Services with same selector`,
	`Networking Granular Checks: Services should function for node-Service: http`,
	`Networking Granular Checks: Services should function for node-Service: udp`,
	`Networking Granular Checks: Services should function for pod-Service: http`,
	`Networking Granular Checks: Services should function for pod-Service: udp`,
	`Networking Granular Checks: Services should function for service endpoints using hostNetwork`,
	`Networking Granular Checks: Services should support basic nodePort: udp functionality`,
	`Networking Granular Checks: Services should update endpoints: http`,
	`Networking Granular Checks: Services should update endpoints: udp`,
	`Networking Granular Checks: Services should update nodePort: http`,
	`Networking Granular Checks: Services should update nodePort: udp`,
	`Service CIDRs should create Services and serve on different Service CIDRs`,
	`Service endpoints latency should not be very high`,
	`Services should allow pods to hairpin back to themselves through services`,
	`Services should be able to change the type from ClusterIP to ExternalName`,
	`Services should be able to change the type from ExternalName to ClusterIP`,
	`Services should be able to change the type from ExternalName to NodePort`,
	`Services should be able to change the type from NodePort to ExternalName`,
	`Services should be able to connect to terminating and unready endpoints if PublishNotReadyAddresses is true`,
	`Services should be able to create a functioning NodePort service`,
	`Services should be able to switch session affinity for NodePort service`,
	`Services should be able to switch session affinity for service with type clusterIP`,
	`Services should be able to up and down services`,
	`Services should be able to update service type to NodePort listening on same port number but different protocols`,
	`Services should be possible to connect to a service via ExternalIP when the external IP is not assigned to a node`,
	`Services should be rejected for evicted pods (no endpoints exist)`,
	`Services should be rejected when no endpoints exist`,
	`Services should be updated after adding or deleting ports`,
	`Services should check NodePort out-of-range`,
	`Services should complete a service status lifecycle`,
	`Services should connect to the named ports exposed by restartable init containers`,
	`Services should connect to the ports exposed by restartable init containers`,
	`Services should create endpoints for unready pods`,
	`Services should delete a collection of services`,
	`Services should fail health check node port if there are only terminating endpoints`,
	`Services should fallback to local terminating endpoints when there are no ready endpoints with externalTrafficPolicy=Local`,
	`Services should fallback to local terminating endpoints when there are no ready endpoints with internalTrafficPolicy=Local`,
	`Services should fallback to terminating endpoints when there are no ready endpoints with externallTrafficPolicy=Cluster`,
	`Services should fallback to terminating endpoints when there are no ready endpoints with internalTrafficPolicy=Cluster`,
	`Services should find a service from listing all namespaces`,
	`Services should have session affinity timeout work for NodePort service`,
	`Services should have session affinity timeout work for service with type clusterIP`,
	`Services should have session affinity work for NodePort service`,
	`Services should have session affinity work for service with type clusterIP`,
	`Services should implement service.kubernetes.io/headless`,
	`Services should implement service.kubernetes.io/service-proxy-name`,
	`Services should not be able to connect to terminating and unready endpoints if PublishNotReadyAddresses is false`,
	`Services should preserve source pod IP for traffic thru service cluster IP`,
	`Services should prevent NodePort collisions`,
	`Services should release NodePorts on delete`,
	`Services should respect internalTrafficPolicy=Local Pod (hostNetwork: true) to Pod`,
	`Services should respect internalTrafficPolicy=Local Pod and Node, to Pod (hostNetwork: true)`,
	`Services should respect internalTrafficPolicy=Local Pod to Pod`,
	`Services should serve a basic endpoint from pods`,
	`Services should serve endpoints on same port and different protocol for internal traffic on Type LoadBalancer`,
	`Services should serve endpoints on same port and different protocols`,
	`Services should serve multiport endpoints from pods`,
	`Services should support externalTrafficPolicy=Local for type=NodePort`,
	`Services should support named targetPorts that resolve to different ports on different endpoints`,
	`Services should work after the service has been recreated`,
	`Topology Hints should distribute endpoints evenly`,
	`Traffic Distribution should route traffic correctly between pods on multiple nodes when using PreferClose`,
	`Traffic Distribution should route traffic correctly between pods on multiple nodes when using PreferSameZone`,
	`Traffic Distribution should route traffic to an endpoint in the same zone when using PreferClose`,
	`Traffic Distribution should route traffic to an endpoint in the same zone when using PreferSameZone`,
	`Traffic Distribution should route traffic to an endpoint on the same node or fall back to same zone when using PreferSameNode`,
	`Traffic Distribution should route traffic to an endpoint on the same node when using PreferSameNode and fall back when the endpoint becomes unavailable`,
	`[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly] should be able to handle large requests: http`,
	`[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly] should be able to handle large requests: udp`,
	`[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly] should function for client IP based session affinity: http`,
	`[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly] should function for client IP based session affinity: udp`,
	`[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly] should function for endpoint-Service: http`,
	`[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly] should function for endpoint-Service: udp`,
	`[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly] should function for node-Service: http`,
	`[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly] should function for node-Service: udp`,
	`[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly] should function for pod-Service: http`,
	`[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly] should function for pod-Service: udp`,
	`[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly] should function for service endpoints using hostNetwork`,
	`[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly] should update endpoints: http`,
	`[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly] should update endpoints: udp`,
	`[Feature:IPv6DualStack] should be able to reach pod on ipv4 and ipv6 ip`,
	`[Feature:IPv6DualStack] should create a single stack service with cluster ip from primary service range`,
	`[Feature:IPv6DualStack] should create pod, add ipv6 and ipv4 ip to host ips`,
	`[Feature:IPv6DualStack] should create pod, add ipv6 and ipv4 ip to pod ips`,
	`[Feature:IPv6DualStack] should create service with ipv4 cluster ip`,
	`[Feature:IPv6DualStack] should create service with ipv4,v6 cluster ip`,
	`[Feature:IPv6DualStack] should create service with ipv6 cluster ip`,
	`[Feature:IPv6DualStack] should create service with ipv6,v4 cluster ip`,
	`[Feature:IPv6DualStack] should have ipv4 and ipv6 internal node ip`,
}

// nativeServiceSpecs are further ones, for clusters that route natively: a process that binds to its
// node's address asks for a pod of another node. In a tunnel that sees the router's address, since
// answers to the node's would not come back through the tunnel.
var nativeServiceSpecs = []string{
	`Services should implement NodePort and HealthCheckNodePort correctly when ExternalTrafficPolicy changes`,
}

// Skipped are specs that do not run here.
type Skipped struct {
	Text string // Regular expression.
	Why  string
}

// skippedServiceSpecs, with the lists above, are all that upstream has: one that is new there is
// taken for neither.
var skippedServiceSpecs = []Skipped{
	{`(?i)sctp`, "SCTP is not load-balanced; the lab's kernel has none"},
	{`LoadBalancers `, "they wait for a cloud's load balancers"},
	{`Services should work after restarting (kube-proxy|apiserver)`, "kube-proxy is replaced; the lab's API server is no pod that could be deleted"},
	{`Conntrack proxy implementation should not be vulnerable to the invalid conntrack state bug`, "its image is none that is built from a module; it is about the connection tracking that kube-proxy relies on"},
	{`KubeProxy should `, "they read kube-proxy's own metrics and settings"},
	{`Networking should (check kube-proxy urls|recreate its iptables rules)`, "they are about kube-proxy itself"},
}

// counted is what a spec's text begins with when it has to be in one of the lists, those of policy.go
// among them.
var counted = regexp.MustCompile(`^\[sig-network\] (Services|Networking Granular Checks: Services|LoadBalancers|HostPort|Conntrack|EndpointSlice|` +
	`Topology Hints|Traffic Distribution|Service endpoints latency|Service CIDRs|Connectivity Pod Lifecycle|KubeProxy|Networking should check kube-proxy|` +
	`Networking should recreate its iptables|Netpol|Netpol API|\[Feature:IPv6DualStack\]) `)

// unlisted says which texts are about Services or policies and in no list.
func unlisted(texts []string) error {
	var missing []string
	for _, t := range texts {
		if counted.MatchString(t) && !listed(t) {
			missing = append(missing, t)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%d specs of upstream are about Services or policies and neither run nor skipped: add them to a list in services.go or policy.go: %q", len(missing), missing)
	}
	return nil
}

func listed(text string) bool {
	for _, s := range slices.Concat(serviceSpecs, nativeServiceSpecs, policySpecs) {
		if strings.HasPrefix(text, "[sig-network] "+s) {
			return true
		}
	}
	for _, s := range slices.Concat(skippedServiceSpecs, skippedPolicySpecs) {
		if regexp.MustCompile(s.Text).MatchString(text) {
			return true
		}
	}
	return false
}

// literally makes expressions of the words that specs begin with.
func literally(specs []string) []string {
	var out []string
	for _, s := range specs {
		out = append(out, `\[sig-network\] `+regexp.QuoteMeta(s))
	}
	return out
}
