// SPDX-License-Identifier: Apache-2.0

package conformance

// shortPolicySpecs are those of policySpecs that every run of the tests takes: each brings up nine
// pods and tries all pairs, so there are few.
var shortPolicySpecs = []string{
	`Netpol API should support creating NetworkPolicy API with endport field`,
	`Netpol NetworkPolicy between server and client should allow ingress access from updated pod`,
	`Netpol NetworkPolicy between server and client should allow egress access on one named port`,
	`Netpol NetworkPolicy between server and client should enforce except clause while egress access to server in CIDR block`,
	`Netpol [LinuxOnly] NetworkPolicy between server and client using UDP should enforce policy based on Ports`,
}

// policySpecs are the specs about NetworkPolicy, by the words that begin their texts.
var policySpecs = []string{
	`Netpol API should support creating NetworkPolicy API operations`,
	`Netpol API should support creating NetworkPolicy API with endport field`,
	`Netpol NetworkPolicy between server and client should allow egress access on one named port`,
	`Netpol NetworkPolicy between server and client should allow egress access to server in CIDR block`,
	`Netpol NetworkPolicy between server and client should allow ingress access from namespace on one named port`,
	`Netpol NetworkPolicy between server and client should allow ingress access from updated namespace`,
	`Netpol NetworkPolicy between server and client should allow ingress access from updated pod`,
	`Netpol NetworkPolicy between server and client should allow ingress access on one named port`,
	`Netpol NetworkPolicy between server and client should deny egress from all pods in a namespace`,
	`Netpol NetworkPolicy between server and client should deny egress from pods based on PodSelector`,
	`Netpol NetworkPolicy between server and client should deny ingress access to updated pod`,
	`Netpol NetworkPolicy between server and client should deny ingress from pods on other namespaces`,
	`Netpol NetworkPolicy between server and client should enforce egress policy allowing traffic to a server in a different namespace based on PodSelector and NamespaceSelector`,
	`Netpol NetworkPolicy between server and client should enforce except clause while egress access to server in CIDR block`,
	`Netpol NetworkPolicy between server and client should enforce ingress policy allowing any port traffic to a server on a specific protocol`,
	`Netpol NetworkPolicy between server and client should enforce multiple egress policies with egress allow-all policy taking precedence`,
	`Netpol NetworkPolicy between server and client should enforce multiple ingress policies with ingress allow-all policy taking precedence`,
	`Netpol NetworkPolicy between server and client should enforce multiple, stacked policies with overlapping podSelectors`,
	`Netpol NetworkPolicy between server and client should enforce policies to check ingress and egress policies can be controlled independently based on PodSelector`,
	`Netpol NetworkPolicy between server and client should enforce policy based on Multiple PodSelectors and NamespaceSelectors`,
	`Netpol NetworkPolicy between server and client should enforce policy based on NamespaceSelector with MatchExpressions`,
	`Netpol NetworkPolicy between server and client should enforce policy based on NamespaceSelector with MatchExpressions using default ns label`,
	`Netpol NetworkPolicy between server and client should enforce policy based on PodSelector and NamespaceSelector`,
	`Netpol NetworkPolicy between server and client should enforce policy based on PodSelector or NamespaceSelector`,
	`Netpol NetworkPolicy between server and client should enforce policy based on PodSelector with MatchExpressions`,
	`Netpol NetworkPolicy between server and client should enforce policy based on Ports`,
	`Netpol NetworkPolicy between server and client should enforce policy based on any PodSelectors`,
	`Netpol NetworkPolicy between server and client should enforce policy to allow ingress traffic for a target`,
	`Netpol NetworkPolicy between server and client should enforce policy to allow ingress traffic from pods in all namespaces`,
	`Netpol NetworkPolicy between server and client should enforce policy to allow traffic based on NamespaceSelector with MatchLabels using default ns label`,
	`Netpol NetworkPolicy between server and client should enforce policy to allow traffic from pods within server namespace based on PodSelector`,
	`Netpol NetworkPolicy between server and client should enforce policy to allow traffic only from a different namespace, based on NamespaceSelector`,
	`Netpol NetworkPolicy between server and client should enforce policy to allow traffic only from a pod in a different namespace based on PodSelector and NamespaceSelector`,
	`Netpol NetworkPolicy between server and client should enforce updated policy`,
	`Netpol NetworkPolicy between server and client should ensure an IP overlapping both IPBlock.CIDR and IPBlock.Except is allowed`,
	`Netpol NetworkPolicy between server and client should not allow access by TCP when a policy specifies only UDP`,
	`Netpol NetworkPolicy between server and client should not mistakenly treat 'protocol: SCTP' as 'protocol: TCP', even if the plugin doesn't support SCTP`,
	`Netpol NetworkPolicy between server and client should properly isolate pods that are selected by a policy allowing SCTP, even if the plugin doesn't support SCTP`,
	`Netpol NetworkPolicy between server and client should stop enforcing policies after they are deleted`,
	`Netpol NetworkPolicy between server and client should support a 'default-deny-all' policy`,
	`Netpol NetworkPolicy between server and client should support a 'default-deny-ingress' policy`,
	`Netpol NetworkPolicy between server and client should support allow-all policy`,
	`Netpol NetworkPolicy between server and client should support denying of egress traffic on the client side (even if the server explicitly allows this traffic)`,
	`Netpol NetworkPolicy between server and client should work with Ingress, Egress specified together`,
	`Netpol [LinuxOnly] NetworkPolicy between server and client using UDP should enforce policy based on Ports`,
	`Netpol [LinuxOnly] NetworkPolicy between server and client using UDP should enforce policy to allow traffic only from a pod in a different namespace based on PodSelector and NamespaceSelector`,
	`Netpol [LinuxOnly] NetworkPolicy between server and client using UDP should support a 'default-deny-ingress' policy`,
}

// skippedPolicySpecs are those that do not run here.
var skippedPolicySpecs = []Skipped{
	{`\[Feature:SCTPConnectivity\]`, "they reach their pods by SCTP through a Service, and SCTP is not load-balanced; network-policy-api's suite sends SCTP from pod to pod"},
}
