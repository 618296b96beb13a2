// SPDX-License-Identifier: Apache-2.0

package cniserver

import (
	"net/netip"
	"strings"

	"github.com/fairlead-io/fairlead/internal/agent/endpoint"
	"github.com/fairlead-io/fairlead/internal/cniapi"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// portMapping is one of the capability argument portMappings (CNI conventions, "Dynamic
// Plugin specific fields").
type portMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP"`
}

// maxPortMappings bounds what one pod may ask for.
const maxPortMappings = 1024

// decodePorts validates the host ports of a pod. A mapping without a host port asks for
// nothing.
func decodePorts(in []portMapping) ([]endpoint.PortMapping, error) {
	if len(in) > maxPortMappings {
		return nil, cniapi.Errorf(cniapi.CodeInvalidConfig, "runtimeConfig.portMappings has %d entries, more than %d", len(in), maxPortMappings)
	}
	var out []endpoint.PortMapping
	for i, p := range in {
		if p.HostPort == 0 {
			continue
		}
		wrong := func(field string, value any, want string) error {
			return cniapi.Errorf(cniapi.CodeInvalidConfig, "runtimeConfig.portMappings[%d].%s is %v, want %s", i, field, value, want)
		}
		one := endpoint.PortMapping{HostPort: uint16(p.HostPort), ContainerPort: uint16(p.ContainerPort)}
		switch {
		case p.HostPort < 0 || p.HostPort > 65535:
			return nil, wrong("hostPort", p.HostPort, "a port from 1 to 65535")
		case p.ContainerPort < 1 || p.ContainerPort > 65535:
			return nil, wrong("containerPort", p.ContainerPort, "a port from 1 to 65535")
		}
		switch strings.ToLower(p.Protocol) {
		case "tcp", "":
			one.Protocol = datapath.TCP
		case "udp":
			one.Protocol = datapath.UDP
		default:
			return nil, wrong("protocol", p.Protocol, "tcp or udp, which host ports can be of here")
		}
		if p.HostIP != "" {
			a, err := netip.ParseAddr(p.HostIP)
			if err != nil || a.Zone() != "" {
				return nil, wrong("hostIP", p.HostIP, "an address of the node, or none")
			}
			if a = a.Unmap(); !a.IsUnspecified() {
				one.HostIP = a
			}
		}
		out = append(out, one)
	}
	return out, nil
}
