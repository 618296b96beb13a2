// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/fairlead-io/fairlead/internal/cniapi"
	"github.com/fairlead-io/fairlead/test/asnode"
)

// cycles is how often the whole life of an attachment is repeated.
const cycles = 1000

func TestAThousandLivesLeaveNothing(t *testing.T) {
	n := startNode(t, "1.1.0")
	before := n.inventory(t)
	const workers = 4
	var wg sync.WaitGroup
	for w := range workers {
		rt := pod(t, fmt.Sprint("life", w))
		// GC speaks for a whole network, and a runtime sends it when no ADD of that
		// network is under way: each worker has a network of its own.
		conf := n.network(t, fmt.Sprint("fairlead-", w), "1.1.0")
		wg.Go(func() {
			for i := range cycles / workers {
				rt.ContainerID = fmt.Sprintf("container-%d-%d", w, i)
				if err := life(n, conf, rt); err != nil {
					t.Errorf("worker %d, life %d: %v", w, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	sameInventory(t, before, n.inventory(t))
}

// life is STATUS, ADD, GC that spares it, CHECK, DEL, DEL again.
func life(n *node, conf *libcni.NetworkConfigList, rt *libcni.RuntimeConf) error {
	ctx := context.Background()
	if err := n.cni.GetStatusNetworkList(ctx, conf); err != nil {
		return fmt.Errorf("STATUS: %w", err)
	}
	if _, err := n.cni.AddNetworkList(ctx, conf, rt); err != nil {
		return fmt.Errorf("ADD: %w", err)
	}
	valid := []types.GCAttachment{{ContainerID: rt.ContainerID, IfName: rt.IfName}}
	if err := n.cni.GCNetworkList(ctx, conf, &libcni.GCArgs{ValidAttachments: valid}); err != nil {
		return fmt.Errorf("GC: %w", err)
	}
	if err := n.cni.CheckNetworkList(ctx, conf, rt); err != nil {
		return fmt.Errorf("CHECK: %w", err)
	}
	if err := n.cni.DelNetworkList(ctx, conf, rt); err != nil {
		return fmt.Errorf("DEL: %w", err)
	}
	if err := n.cni.DelNetworkList(ctx, conf, rt); err != nil {
		return fmt.Errorf("DEL of what is gone: %w", err)
	}
	return nil
}

func TestFiftyAtOnce(t *testing.T) {
	n := startNode(t, "1.1.0")
	before := n.inventory(t)
	var pods []*libcni.RuntimeConf
	for i := range 50 {
		pods = append(pods, pod(t, fmt.Sprint("crowd", i)))
	}
	var mu sync.Mutex
	owner := map[string]string{}
	atOnce(t, pods, func(rt *libcni.RuntimeConf) error {
		res, err := n.cni.AddNetworkList(t.Context(), n.conf, rt)
		if err != nil {
			return err
		}
		r, err := current.GetResult(res)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if len(r.IPs) != 2 {
			return fmt.Errorf("%d addresses, want one of each family", len(r.IPs))
		}
		for _, a := range r.IPs {
			if by, taken := owner[a.Address.String()]; taken {
				return fmt.Errorf("%s is assigned to %s too", a.Address.String(), by)
			}
			owner[a.Address.String()] = rt.ContainerID
		}
		return nil
	})

	// All of them reach the node, and the node them.
	atOnce(t, pods, func(rt *libcni.RuntimeConf) error {
		out, err := exec.Command("ip", "netns", "exec", rt.ContainerID[len("container-"):], "ping", "-c1", "-W2", "192.0.2.1").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})

	t.Run("an agent that restarts knows them all", func(t *testing.T) {
		n.stop()
		n.start(t)
		atOnce(t, pods, func(rt *libcni.RuntimeConf) error { return n.cni.CheckNetworkList(context.Background(), n.conf, rt) })
	})

	t.Run("GC removes those that the runtime has forgotten", func(t *testing.T) {
		valid := []types.GCAttachment{}
		for _, rt := range pods[:10] {
			valid = append(valid, types.GCAttachment{ContainerID: rt.ContainerID, IfName: rt.IfName})
		}
		if err := n.cni.GCNetworkList(t.Context(), n.conf, &libcni.GCArgs{ValidAttachments: valid}); err != nil {
			t.Fatal(err)
		}
		for i, rt := range pods {
			out, _ := exec.Command("ip", "-n", rt.ContainerID[len("container-"):], "-o", "link", "show", "eth0").CombinedOutput()
			if has := strings.Contains(string(out), "eth0@"); has != (i < 10) {
				t.Errorf("%s: connected is %v after GC", rt.ContainerID, has)
			}
		}
	})
	atOnce(t, pods, func(rt *libcni.RuntimeConf) error { return n.cni.DelNetworkList(context.Background(), n.conf, rt) })
	sameInventory(t, before, n.inventory(t))
}

func atOnce(t *testing.T, pods []*libcni.RuntimeConf, do func(*libcni.RuntimeConf) error) {
	t.Helper()
	var wg sync.WaitGroup
	for _, rt := range pods {
		wg.Go(func() {
			if err := do(rt); err != nil {
				t.Errorf("%s: %v", rt.ContainerID, err)
			}
		})
	}
	wg.Wait()
}

func TestTheResultIsOfTheVersionAskedFor(t *testing.T) {
	for _, version := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		t.Run(version, func(t *testing.T) {
			n := startNode(t, version)
			rt := pod(t, "ver"+strings.ReplaceAll(version, ".", ""))
			res, err := n.cni.AddNetworkList(t.Context(), n.conf, rt)
			if err != nil {
				t.Fatal(err)
			}
			if res.Version() != version {
				t.Errorf("result of version %s, want %s", res.Version(), version)
			}
			r, err := current.NewResultFromResult(res)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.IPs) != 2 || len(r.Interfaces) != 2 || r.Interfaces[0].Sandbox != rt.NetNS || r.IPs[0].Gateway.String() != "10.77.0.1" {
				t.Errorf("result is %+v", r)
			}
			if err := n.cni.DelNetworkList(t.Context(), n.conf, rt); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// code returns the CNI error code of err.
func code(t *testing.T, err error) uint {
	t.Helper()
	var e *types.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a CNI error", err)
	}
	return e.Code
}

func TestBadInputLeavesNothing(t *testing.T) {
	n := startNode(t, "1.1.0")
	before := n.inventory(t)

	t.Run("a namespace path that does not exist", func(t *testing.T) {
		rt := pod(t, "badns")
		rt.NetNS = "/run/netns/nobody"
		_, err := n.cni.AddNetworkList(t.Context(), n.conf, rt)
		if err == nil || !strings.Contains(err.Error(), "/run/netns/nobody") {
			t.Errorf("got %v, want the path named", err)
		}
	})
	t.Run("a file that is no namespace", func(t *testing.T) {
		rt := pod(t, "nonns")
		rt.NetNS = "/etc/passwd"
		_, err := n.cni.AddNetworkList(t.Context(), n.conf, rt)
		if err == nil || !strings.Contains(err.Error(), "/etc/passwd") {
			t.Errorf("got %v, want the path named", err)
		}
	})
	t.Run("the node's own namespace", func(t *testing.T) {
		rt := pod(t, "ownns")
		rt.NetNS = "/proc/self/ns/net"
		if _, err := n.cni.AddNetworkList(t.Context(), n.conf, rt); err == nil {
			t.Error("a pod cannot live in the node's namespace")
		}
	})
	t.Run("an interface that exists in the pod", func(t *testing.T) {
		rt := pod(t, "taken")
		if err := asnode.IP("-n", "taken", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1"); err != nil {
			t.Fatal(err)
		}
		if _, err := n.cni.AddNetworkList(t.Context(), n.conf, rt); err == nil || !strings.Contains(err.Error(), "eth0") {
			t.Errorf("got %v, want the interface named", err)
		}
	})
	t.Run("an ADD repeated", func(t *testing.T) {
		rt := pod(t, "twice")
		if _, err := n.cni.AddNetworkList(t.Context(), n.conf, rt); err != nil {
			t.Fatal(err)
		}
		_, err := n.cni.AddNetworkList(t.Context(), n.conf, rt)
		if got := code(t, err); got != cniapi.CodeAlreadyAttached {
			t.Errorf("code %d, want %d: %v", got, cniapi.CodeAlreadyAttached, err)
		}
		if err := n.cni.CheckNetworkList(t.Context(), n.conf, rt); err != nil {
			t.Errorf("the first ADD's work was harmed: %v", err)
		}
		if err := n.cni.DelNetworkList(t.Context(), n.conf, rt); err != nil {
			t.Error(err)
		}
	})
	t.Run("a CHECK of what somebody changed", func(t *testing.T) {
		rt := pod(t, "drift")
		if _, err := n.cni.AddNetworkList(t.Context(), n.conf, rt); err != nil {
			t.Fatal(err)
		}
		if err := asnode.IP("-n", "drift", "addr", "flush", "dev", "eth0"); err != nil {
			t.Fatal(err)
		}
		err := n.cni.CheckNetworkList(t.Context(), n.conf, rt)
		if got := code(t, err); got != cniapi.CodeCheckFailed {
			t.Errorf("code %d, want %d: %v", got, cniapi.CodeCheckFailed, err)
		}
		if err := n.cni.DelNetworkList(t.Context(), n.conf, rt); err != nil {
			t.Error(err)
		}
	})
	t.Run("a DEL after the namespace is gone", func(t *testing.T) {
		rt := pod(t, "gone")
		if _, err := n.cni.AddNetworkList(t.Context(), n.conf, rt); err != nil {
			t.Fatal(err)
		}
		if err := asnode.IP("netns", "del", "gone"); err != nil {
			t.Fatal(err)
		}
		if err := n.cni.DelNetworkList(t.Context(), n.conf, rt); err != nil {
			t.Error(err)
		}
	})
	sameInventory(t, before, n.inventory(t))
}

func TestTheRangeIsExhausted(t *testing.T) {
	saved := ranges
	ranges = []netip.Prefix{netip.MustParsePrefix("10.77.0.0/29")}
	defer func() { ranges = saved }()
	n := startNode(t, "1.1.0")
	for i := range 5 {
		if _, err := n.cni.AddNetworkList(t.Context(), n.conf, pod(t, fmt.Sprint("fill", i))); err != nil {
			t.Fatal(err)
		}
	}
	_, err := n.cni.AddNetworkList(t.Context(), n.conf, pod(t, "toomany"))
	if got := code(t, err); got != cniapi.CodeExhausted || !strings.Contains(err.Error(), "10.77.0.0/29") {
		t.Errorf("code %d, %v: want %d and the range named", got, err, cniapi.CodeExhausted)
	}
	if err := n.cni.GCNetworkList(t.Context(), n.conf, &libcni.GCArgs{}); err != nil {
		t.Fatal(err)
	}
}

// plugin runs the plugin as a runtime does, without libcni's own checks.
func plugin(stdin string, env ...string) (string, error) {
	cmd := exec.Command(asnode.Program("fairlead-cni"))
	cmd.Env = env
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	return string(out), err
}

func TestThePluginAlone(t *testing.T) {
	add := []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=c", "CNI_NETNS=/run/netns/x", "CNI_IFNAME=eth0", "CNI_PATH=/"}
	for name, tc := range map[string]struct {
		stdin string
		env   []string
		want  []string
	}{
		"malformed stdin":           {`{"cniVersion"`, add, []string{`"code"`}},
		"a version nobody knows":    {`{"cniVersion":"9.9.9","name":"f","type":"fairlead-cni"}`, add, []string{`"code": 1`, "9.9.9"}},
		"no agent":                  {`{"cniVersion":"1.1.0","name":"f","type":"fairlead-cni","socket":"/nowhere"}`, add, []string{`"code": 11`, "/nowhere", "fairlead-agent"}},
		"STATUS without an agent":   {`{"cniVersion":"1.1.0","name":"f","type":"fairlead-cni","socket":"/nowhere"}`, []string{"CNI_COMMAND=STATUS", "CNI_PATH=/"}, []string{`"code": 50`}},
		"a container ID is missing": {`{"cniVersion":"1.1.0","name":"f","type":"fairlead-cni"}`, []string{"CNI_COMMAND=ADD", "CNI_NETNS=/x", "CNI_IFNAME=eth0", "CNI_PATH=/"}, []string{`"code": 4`, "CNI_CONTAINERID"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := plugin(tc.stdin, tc.env...)
			if err == nil {
				t.Fatalf("it succeeded: %s", out)
			}
			for _, w := range tc.want {
				if !strings.Contains(out, w) {
					t.Errorf("%s does not say %s", out, w)
				}
			}
		})
	}
	t.Run("STATUS without an agent, the network in force", func(t *testing.T) {
		socket := filepath.Join(t.TempDir(), "cni.sock")
		stdin := fmt.Sprintf(`{"cniVersion":"1.1.0","name":"f","type":"fairlead-cni","socket":%q}`, socket)
		if out, err := plugin(stdin, "CNI_COMMAND=STATUS", "CNI_PATH=/"); err == nil {
			t.Errorf("it is a success before any network is in force: %s", out)
		}
		if err := os.WriteFile(cniapi.InForce(socket), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := plugin(stdin, "CNI_COMMAND=STATUS", "CNI_PATH=/"); err != nil {
			t.Errorf("%s, %v: the node would be called not ready", out, err)
		}
		if out, err := plugin(stdin, add...); err == nil || !strings.Contains(out, `"code": 11`) {
			t.Errorf("ADD: %s, %v: want it to be tried again", out, err)
		}
	})
	t.Run("VERSION", func(t *testing.T) {
		out, err := plugin("", "CNI_COMMAND=VERSION")
		if err != nil || !strings.Contains(out, `"1.1.0"`) || !strings.Contains(out, `"0.3.1"`) {
			t.Errorf("%s, %v", out, err)
		}
	})
	t.Run("its size", func(t *testing.T) {
		st, err := os.Stat(asnode.Program("fairlead-cni"))
		if err != nil {
			t.Fatal(err)
		}
		if const6MiB := int64(6 << 20); st.Size() >= const6MiB {
			t.Errorf("%d bytes, want less than %d", st.Size(), const6MiB)
		}
	})
}
