// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/internal/state"
)

// BuildEndpoints computes the endpoints of one node from the pods bound to it,
// sorted by name. Pods on the host's network and finished pods have none.
func BuildEndpoints(pods []Pod) ([]state.Resource, []Finding) {
	var out []state.Resource
	var findings []Finding
	for _, p := range pods {
		if p.HostNetwork || p.Finished {
			continue
		}
		addresses, bad := podAddresses(p)
		findings = append(findings, bad...)
		name := state.EndpointName(p.Namespace, p.Name)
		r, err := state.Encode(name, &state.Endpoint{Namespace: p.Namespace, Name: p.Name, Uid: p.UID, Addresses: addresses})
		if err != nil {
			findings = append(findings, Finding{"Pod " + name, "metadata.name", err.Error(), "use names of valid UTF-8"})
			continue
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b state.Resource) int { return strings.Compare(a.Name, b.Name) })
	return out, findings
}

func podAddresses(p Pod) (out []string, findings []Finding) {
	for i, text := range p.IPs {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Is4In6() || a.Zone() != "" {
			findings = append(findings, Finding{
				Object:  "Pod " + state.EndpointName(p.Namespace, p.Name),
				Field:   fmt.Sprintf("status.podIPs[%d]", i),
				Message: fmt.Sprintf("%q is not an address", text),
				Fix:     "delete the pod: its kubelet reported something that the agent did not assign",
			})
			continue
		}
		out = append(out, a.String())
	}
	return out, findings
}
