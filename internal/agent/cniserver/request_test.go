// SPDX-License-Identifier: Apache-2.0

package cniserver

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/fairlead-io/fairlead/internal/agent/endpoint"
	"github.com/fairlead-io/fairlead/internal/cniapi"
)

const podArgs = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=4d4f"

func request(change func(*cniapi.Request)) *cniapi.Request {
	r := &cniapi.Request{
		Version: cniapi.Version, Command: cniapi.CommandAdd,
		ContainerID: "c1", Netns: "/run/netns/c1", IfName: "eth0", Args: podArgs,
		Config: json.RawMessage(`{"cniVersion":"1.1.0","name":"fairlead","type":"fairlead-cni"}`),
	}
	change(r)
	return r
}

func TestBadRequestsNameTheParameterAndTheFix(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*cniapi.Request)
		code   uint
		want   []string
	}{
		"a plugin of another release":      {func(r *cniapi.Request) { r.Version = 9 }, cniapi.CodeVersion, []string{"version 9", "restart"}},
		"configuration that is not JSON":   {func(r *cniapi.Request) { r.Config = json.RawMessage(`{`) }, cniapi.CodeDecode, []string{"configuration"}},
		"no configuration":                 {func(r *cniapi.Request) { r.Config = nil }, cniapi.CodeDecode, []string{"configuration"}},
		"name of the wrong type":           {func(r *cniapi.Request) { r.Config = json.RawMessage(`{"name":7}`) }, cniapi.CodeDecode, []string{"name"}},
		"unknown command":                  {func(r *cniapi.Request) { r.Command = "MOVE" }, cniapi.CodeInvalidEnvironment, []string{"CNI_COMMAND", "MOVE"}},
		"container ID with a slash":        {func(r *cniapi.Request) { r.ContainerID = "../../etc" }, cniapi.CodeInvalidEnvironment, []string{"CNI_CONTAINERID"}},
		"container ID too long":            {func(r *cniapi.Request) { r.ContainerID = strings.Repeat("c", 300) }, cniapi.CodeInvalidEnvironment, []string{"CNI_CONTAINERID"}},
		"interface name too long":          {func(r *cniapi.Request) { r.IfName = "a-very-long-interface" }, cniapi.CodeInvalidEnvironment, []string{"CNI_IFNAME", "15"}},
		"interface name with a slash":      {func(r *cniapi.Request) { r.IfName = "a/b" }, cniapi.CodeInvalidEnvironment, []string{"CNI_IFNAME"}},
		"relative namespace path":          {func(r *cniapi.Request) { r.Netns = "netns/c1" }, cniapi.CodeInvalidEnvironment, []string{"CNI_NETNS", "absolute"}},
		"arguments without a value":        {func(r *cniapi.Request) { r.Args = "K8S_POD_NAME" }, cniapi.CodeInvalidEnvironment, []string{"CNI_ARGS", "KEY=VALUE"}},
		"arguments beyond all measure":     {func(r *cniapi.Request) { r.Args = "A=" + strings.Repeat("x", 5000) }, cniapi.CodeInvalidEnvironment, []string{"CNI_ARGS", "5002 bytes"}},
		"a pod name that cannot be one":    {func(r *cniapi.Request) { r.Args = "K8S_POD_NAMESPACE=a;K8S_POD_NAME=../x" }, cniapi.CodeInvalidEnvironment, []string{"K8S_POD_NAME", "../x"}},
		"a pod name without its namespace": {func(r *cniapi.Request) { r.Args = "K8S_POD_NAME=x" }, cniapi.CodeInvalidEnvironment, []string{"K8S_POD_NAMESPACE"}},
		"CHECK without a previous result":  {func(r *cniapi.Request) { r.Command = cniapi.CommandCheck }, cniapi.CodeInvalidConfig, []string{"prevResult"}},
		"GC without a network's name": {func(r *cniapi.Request) { r.Command, r.Config = cniapi.CommandGC, json.RawMessage(`{}`) },
			cniapi.CodeInvalidConfig, []string{`"name"`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decode(request(tc.change))
			var e *cniapi.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an error of the protocol", err)
			}
			if e.Code != tc.code {
				t.Errorf("code %d, want %d", e.Code, tc.code)
			}
			for _, w := range tc.want {
				if !strings.Contains(e.Error(), w) {
					t.Errorf("%q does not say %q", e.Error(), w)
				}
			}
		})
	}
}

func TestGoodRequests(t *testing.T) {
	t.Run("ADD by Kubernetes", func(t *testing.T) {
		c, err := decode(request(func(*cniapi.Request) {}))
		want := endpoint.Attachment{Key: endpoint.Key{ContainerID: "c1", IfName: "eth0"}, Network: "fairlead", Netns: "/run/netns/c1",
			Pod: endpoint.Pod{Namespace: "shop", Name: "cart-0", UID: "4d4f"}}
		if err != nil || !reflect.DeepEqual(c.attachment, want) {
			t.Errorf("got %+v, %v, want %+v", c.attachment, err, want)
		}
	})
	t.Run("ADD by cnitool, without arguments", func(t *testing.T) {
		if _, err := decode(request(func(r *cniapi.Request) { r.Args = "" })); err != nil {
			t.Error(err)
		}
	})
	t.Run("DEL whose namespace is gone and whose arguments are absurd", func(t *testing.T) {
		if _, err := decode(request(func(r *cniapi.Request) { r.Command, r.Netns, r.Args = cniapi.CommandDel, "", "=;=" })); err != nil {
			t.Error(err)
		}
	})
	t.Run("CHECK reads the addresses of the previous result", func(t *testing.T) {
		c, err := decode(request(func(r *cniapi.Request) {
			r.Command = cniapi.CommandCheck
			r.Config = json.RawMessage(`{"name":"fairlead","prevResult":{"ips":[{"address":"10.1.0.5/32"},{"address":"fd00::5/128"}]}}`)
		}))
		if err != nil || len(c.previous) != 2 || c.previous[1].String() != "fd00::5" {
			t.Errorf("got %v, %v", c.previous, err)
		}
	})
	t.Run("GC reads what is still valid", func(t *testing.T) {
		c, err := decode(request(func(r *cniapi.Request) {
			r.Command = cniapi.CommandGC
			r.Config = json.RawMessage(`{"name":"fairlead","cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]}`)
		}))
		if err != nil || !c.valid[endpoint.Key{ContainerID: "c1", IfName: "eth0"}] {
			t.Errorf("got %v, %v", c.valid, err)
		}
	})
}

// FuzzDecode asserts that whatever a request holds, the decoder neither crashes
// nor lets through what could leave the records' folder or the agent's logs.
func FuzzDecode(f *testing.F) {
	f.Add("ADD", "c1", "/run/netns/c1", "eth0", podArgs, []byte(`{"cniVersion":"1.1.0","name":"fairlead"}`))
	f.Add("CHECK", "c1", "/x", "eth0", "", []byte(`{"prevResult":{"ips":[{"address":"::ffff:10.0.0.1/128"}]}}`))
	f.Add("GC", "", "", "", "", []byte(`{"name":"n","cni.dev/valid-attachments":[{}]}`))
	f.Fuzz(func(t *testing.T, command, id, netns, ifName, args string, config []byte) {
		c, err := decode(&cniapi.Request{Version: cniapi.Version, Command: command, ContainerID: id, Netns: netns, IfName: ifName, Args: args, Config: config})
		if err != nil {
			var e *cniapi.Error
			if !errors.As(err, &e) || e.Code == 0 {
				t.Fatalf("error without a code: %v", err)
			}
			return
		}
		for _, s := range []string{c.attachment.ContainerID, c.attachment.IfName, c.attachment.Pod.Name, c.attachment.Pod.Namespace} {
			if strings.ContainsAny(s, "/\x00\n") {
				t.Fatalf("%q went through", s)
			}
		}
		for _, a := range c.previous {
			if a.Is4In6() {
				t.Fatalf("%s is not in its own family", a)
			}
		}
	})
}
