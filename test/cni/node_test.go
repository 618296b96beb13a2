// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"

	"github.com/fairlead-io/fairlead/internal/agent/cniserver"
	"github.com/fairlead-io/fairlead/internal/agent/endpoint"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/test/asnode"
)

// node is an agent's CNI half: server, endpoints and datapath, without a controller.
type node struct {
	dir     string
	bpffs   string
	socket  string
	records string
	cni     *libcni.CNIConfig
	conf    *libcni.NetworkConfigList
	stop    func()
}

var ranges = []netip.Prefix{netip.MustParsePrefix("10.77.0.0/22"), netip.MustParsePrefix("fd77::/64")}

func startNode(t *testing.T, version string) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{dir: dir, bpffs: asnode.BPFFS(), socket: filepath.Join(dir, "cni.sock"), records: filepath.Join(dir, "endpoints")}
	n.conf = n.network(t, "fairlead", version)
	n.cni = libcni.NewCNIConfigWithCacheDir([]string{filepath.Dir(asnode.Program("fairlead-cni"))}, filepath.Join(dir, "cache"),
		&invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: os.Stderr}}) // without one libcni makes it at its first use, and that races
	n.start(t)
	t.Cleanup(func() {
		n.stop()
		if err := datapath.Cleanup(context.Background(), n.options()); err != nil {
			t.Error(err)
		}
	})
	return n
}

// network returns the configuration of a network, as a runtime reads it.
func (n *node) network(t *testing.T, name, version string) *libcni.NetworkConfigList {
	t.Helper()
	conf, err := libcni.ConfListFromBytes([]byte(fmt.Sprintf(
		`{"cniVersion":%q,"name":%q,"plugins":[{"type":"fairlead-cni","socket":%q}]}`, version, name, n.socket)))
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

func (n *node) options() datapath.Options {
	return datapath.Options{BPFFS: n.bpffs, Masquerade: true, Log: slog.New(slog.DiscardHandler)}
}

// start runs the agent's half; calling it again after stop is an agent's restart.
func (n *node) start(t *testing.T) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	dp, err := datapath.Open(t.Context(), n.options(), datapath.Node{
		Name: "node", PodCIDRs: ranges, ClusterPodCIDRs: ranges,
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	store, err := endpoint.NewStore(n.records)
	if err != nil {
		t.Fatal(err)
	}
	manager := endpoint.NewManager(store, log)
	if err := manager.Start(t.Context(), dp, ranges); err != nil {
		t.Fatal(err)
	}
	l, err := cniserver.Listen(n.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- cniserver.New(manager, log, nil).Serve(ctx, l) }()
	n.stop = func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := dp.Close(); err != nil {
			t.Error(err)
		}
		n.stop = func() {}
	}
}

// pod makes a network namespace and returns the runtime's parameters for it.
func pod(t *testing.T, name string) *libcni.RuntimeConf {
	t.Helper()
	if err := asnode.IP("netns", "add", name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = asnode.IP("netns", "del", name) })
	return &libcni.RuntimeConf{
		ContainerID: "container-" + name, NetNS: "/run/netns/" + name, IfName: "eth0",
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "test"}, {"K8S_POD_NAME", name}},
	}
}

// inventory lists everything on the node that an attachment could leave behind:
// links, addresses, routes, rules, neighbours, rows of the maps, files. Rows of
// caches (LRU maps) and counters are not attachments'.
func (n *node) inventory(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, args := range [][]string{
		{"-o", "link"}, {"-o", "addr"}, {"route", "show", "table", "all"}, {"-6", "route", "show", "table", "all"},
		{"rule"}, {"-6", "rule"}, {"neigh", "show", "nud", "permanent"}, {"-6", "neigh", "show", "nud", "permanent"},
	} {
		b, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, b)
		}
		for line := range strings.Lines(string(b)) {
			// Lifetimes and statistics move by themselves.
			line, _, _ = strings.Cut(strings.TrimSpace(line), "\\ ")
			out = append(out, strings.Join(args, " ")+": "+line)
		}
	}
	out = append(out, n.rows(t)...)
	files, err := os.ReadDir(n.records)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		out = append(out, "file: "+f.Name())
	}
	slices.Sort(out)
	return out
}

func (n *node) rows(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(n.bpffs, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
		if err != nil {
			out = append(out, "pin: "+path)
			return nil // a program or a link
		}
		defer m.Close() //nolint:errcheck // read only
		if m.Type() != ebpf.Hash && m.Type() != ebpf.LPMTrie {
			return nil
		}
		var key, value []byte
		for it := m.Iterate(); it.Next(&key, &value); {
			out = append(out, fmt.Sprintf("row: %s %x", d.Name(), key))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameInventory(t *testing.T, before, after []string) {
	t.Helper()
	for _, l := range after {
		if !slices.Contains(before, l) {
			t.Errorf("left behind: %s", l)
		}
	}
	for _, l := range before {
		if !slices.Contains(after, l) {
			t.Errorf("lost: %s", l)
		}
	}
}
