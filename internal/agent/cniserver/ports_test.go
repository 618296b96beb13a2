// SPDX-License-Identifier: Apache-2.0

package cniserver

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/fairlead-io/fairlead/internal/agent/endpoint"
	"github.com/fairlead-io/fairlead/internal/cniapi"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// addWith is an ADD with the runtime's port mappings.
func addWith(mappings string) *cniapi.Request {
	return &cniapi.Request{
		Version: cniapi.Version, Command: cniapi.CommandAdd, ContainerID: "c1", Netns: "/run/netns/x", IfName: "eth0",
		Config: json.RawMessage(`{"name": "fairlead", "runtimeConfig": {"portMappings": ` + mappings + `}}`),
	}
}

func TestPortMappings(t *testing.T) {
	for name, c := range map[string]struct {
		in    string
		want  []endpoint.PortMapping
		wrong string // in the refusal
	}{
		"none": {in: `[]`},
		"all fields": {in: `[{"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "192.0.2.1"}]`,
			want: []endpoint.PortMapping{{HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 8080, ContainerPort: 80, Protocol: datapath.UDP}}},
		"TCP is the default, every address too": {in: `[{"hostPort": 8080, "containerPort": 80}]`,
			want: []endpoint.PortMapping{{HostPort: 8080, ContainerPort: 80, Protocol: datapath.TCP}}},
		"the unspecified address is every address": {in: `[{"hostPort": 8080, "containerPort": 80, "protocol": "TCP", "hostIP": "0.0.0.0"}]`,
			want: []endpoint.PortMapping{{HostPort: 8080, ContainerPort: 80, Protocol: datapath.TCP}}},
		"without a host port":         {in: `[{"containerPort": 80}]`},
		"a host port that is none":    {in: `[{"hostPort": 70000, "containerPort": 80}]`, wrong: "portMappings[0].hostPort is 70000"},
		"a negative host port":        {in: `[{"hostPort": -1, "containerPort": 80}]`, wrong: "portMappings[0].hostPort is -1"},
		"no container port":           {in: `[{"hostPort": 1, "containerPort": 1}, {"hostPort": 80}]`, wrong: "portMappings[1].containerPort is 0"},
		"SCTP":                        {in: `[{"hostPort": 80, "containerPort": 80, "protocol": "sctp"}]`, wrong: "portMappings[0].protocol is sctp"},
		"an address that is none":     {in: `[{"hostPort": 80, "containerPort": 80, "hostIP": "banana"}]`, wrong: "portMappings[0].hostIP is banana"},
		"an address of one interface": {in: `[{"hostPort": 80, "containerPort": 80, "hostIP": "fe80::1%eth0"}]`, wrong: "portMappings[0].hostIP"},
		"too many":                    {in: `[` + strings.Repeat(`{"hostPort": 80, "containerPort": 80},`, maxPortMappings) + `{}]`, wrong: "1025 entries"},
		"no list":                     {in: `"8080:80"`, wrong: "cannot be decoded"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decode(addWith(c.in))
			if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Fatalf("refused with %v, want %q", err, c.wrong)
			}
			if !reflect.DeepEqual(got.attachment.Ports, c.want) {
				t.Errorf("got %+v, want %+v", got.attachment.Ports, c.want)
			}
		})
	}
}

// FuzzPortMappings: what is taken over is a port of the node that leads to a port of a pod.
func FuzzPortMappings(f *testing.F) {
	f.Add(`[{"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "192.0.2.1"}]`)
	f.Add(`[{"hostPort": 1e3, "containerPort": 65536}]`)
	f.Fuzz(func(t *testing.T, in string) {
		var list []portMapping
		if json.Unmarshal([]byte(in), &list) != nil {
			return
		}
		ports, err := decodePorts(list)
		if err != nil {
			return
		}
		for _, p := range ports {
			if p.HostPort == 0 || p.ContainerPort == 0 || p.Protocol != datapath.TCP && p.Protocol != datapath.UDP || p.HostIP.Is4In6() {
				t.Fatalf("%s gives %+v", in, p)
			}
		}
	})
}
