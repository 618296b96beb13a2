// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// Kinds of a path, in the order in which tables show them.
const (
	PodToPodSameNode  = "pod to pod, same node"
	PodToPodOtherNode = "pod to pod, other node"
	PodToOwnNode      = "pod to its node"
	PodToOtherNode    = "pod to another node"
	NodeToOwnPod      = "node to its pod"
	NodeToOtherPod    = "node to another node's pod"
	PodToService      = "pod to Service"
	NodeToService     = "node to Service"
	PodToAPIServer    = "pod to the API server"
	PodToDNS          = "pod to a name"
	PodToOutside      = "pod to the outside"
)

// Kinds lists all kinds in table order.
var Kinds = []string{PodToPodSameNode, PodToPodOtherNode, PodToOwnNode, PodToOtherNode, NodeToOwnPod, NodeToOtherPod,
	PodToService, NodeToService, PodToAPIServer, PodToDNS, PodToOutside}

// Cell is one attempt over one path.
type Cell struct {
	Kind   string        `json:"kind"`
	Family string        `json:"family"` // IPv4, IPv6, or "-" where a name decides
	Proto  string        `json:"proto"`
	From   string        `json:"from"`
	To     string        `json:"to"`
	OK     bool          `json:"ok"`
	Error  string        `json:"error,omitempty"`
	Took   time.Duration `json:"took"`
}

// Outside is a host beyond the cluster that answers with the address it sees.
type Outside struct {
	Addresses         []netip.Addr
	HTTPPort, UDPPort int
}

type target struct {
	Proto string `json:"proto"`
	Addr  string `json:"addr"`
	Port  int    `json:"port,omitempty"`
	Bytes int    `json:"bytes,omitempty"`

	kind, to string
	// peers: the addresses under which the far end may see the dialler; empty: any.
	peers []netip.Addr
}

type outcome struct {
	OK     bool   `json:"ok"`
	Peer   string `json:"peer"`
	Error  string `json:"error"`
	Micros int64  `json:"micros"`
}

type place struct {
	pod   string
	node  string
	host  bool
	addrs []netip.Addr
}

// Run has every probe reach every other. Attempts that fail are repeated for up
// to settle, because endpoints of a Service become known a moment after they are ready.
func Run(ctx context.Context, cfg *rest.Config, outside Outside, settle time.Duration) ([]Cell, error) {
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	places, err := findPlaces(ctx, client)
	if err != nil {
		return nil, err
	}
	svc, err := client.CoreV1().Services(Namespace).Get(ctx, serviceName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	api, err := client.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	cells := make([][]Cell, len(places))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(3)
	for i, from := range places {
		g.Go(func() (err error) {
			cells[i], err = dialFrom(ctx, cfg, client, from, targets(from, places, svc, api, outside), settle)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(cells...), nil
}

func findPlaces(ctx context.Context, client kubernetes.Interface) ([]place, error) {
	pods, err := client.CoreV1().Pods(Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var out []place
	for _, p := range pods.Items {
		if p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning {
			continue
		}
		pl := place{pod: p.Name, node: p.Spec.NodeName, host: p.Spec.HostNetwork}
		for _, ip := range p.Status.PodIPs {
			a, err := netip.ParseAddr(ip.IP)
			if err != nil {
				return nil, fmt.Errorf("pod %s: status.podIPs: %w", p.Name, err)
			}
			pl.addrs = append(pl.addrs, a)
		}
		out = append(out, pl)
	}
	slices.SortFunc(out, func(a, b place) int { return strings.Compare(a.pod, b.pod) })
	return out, nil
}

// bulk is how much a pod receives from a pod on another node: enough for
// segmentation offload and for a wrong MTU to show.
const bulk = 4 << 20

func targets(from place, places []place, svc, api *corev1.Service, outside Outside) []target {
	var out []target
	node := nodeAddresses(from.node, places)
	for _, to := range places {
		if to.pod == from.pod || (from.host && to.host) {
			continue
		}
		out = append(out, toPlace(from, to)...)
	}
	kind := PodToService
	if from.host {
		kind = NodeToService
	}
	for _, ip := range svc.Spec.ClusterIPs {
		out = append(out,
			target{Proto: "tcp", Addr: ip, Port: 80, kind: kind, to: serviceName},
			target{Proto: "udp", Addr: ip, Port: 81, kind: kind, to: serviceName})
	}
	if from.host {
		return out
	}
	for _, ip := range api.Spec.ClusterIPs {
		out = append(out, target{Proto: "connect", Addr: ip, Port: 443, kind: PodToAPIServer, to: "kubernetes"})
	}
	out = append(out, target{Proto: "dns", Addr: serviceName + "." + Namespace + ".svc.cluster.local", kind: PodToDNS, to: serviceName})
	for _, a := range outside.Addresses {
		// Masqueraded: the outside sees the node.
		out = append(out,
			target{Proto: "tcp", Addr: a.String(), Port: outside.HTTPPort, kind: PodToOutside, to: "outside", peers: node},
			target{Proto: "udp", Addr: a.String(), Port: outside.UDPPort, kind: PodToOutside, to: "outside", peers: node},
			target{Proto: "icmp", Addr: a.String(), kind: PodToOutside, to: "outside"})
	}
	return out
}

func toPlace(from, to place) []target {
	var out []target
	same := from.node == to.node
	http, udp := podHTTP, podUDP
	if to.host {
		http, udp = hostHTTP, hostUDP
	}
	for _, a := range to.addrs {
		t := target{Addr: a.String(), kind: kindOf(from, to), to: to.pod}
		if !from.host && !to.host {
			t.peers = from.addrs // pods see each other without NAT
		}
		tcp := t
		tcp.Proto, tcp.Port = "tcp", http
		if !same && !from.host && !to.host {
			tcp.Bytes = bulk
		}
		dgram := t
		dgram.Proto, dgram.Port = "udp", udp
		out = append(out, tcp, dgram)
		if !from.host {
			ping := t
			ping.Proto = "icmp"
			out = append(out, ping)
		}
	}
	return out
}

func kindOf(from, to place) string {
	same := from.node == to.node
	switch {
	case from.host && same:
		return NodeToOwnPod
	case from.host:
		return NodeToOtherPod
	case to.host && same:
		return PodToOwnNode
	case to.host:
		return PodToOtherNode
	case same:
		return PodToPodSameNode
	default:
		return PodToPodOtherNode
	}
}

func nodeAddresses(node string, places []place) []netip.Addr {
	for _, p := range places {
		if p.host && p.node == node {
			return p.addrs
		}
	}
	return nil
}

func dialFrom(ctx context.Context, cfg *rest.Config, client kubernetes.Interface, from place, ts []target, settle time.Duration) ([]Cell, error) {
	deadline := time.Now().Add(settle)
	cells := make([]Cell, len(ts))
	open := make([]int, len(ts)) // indices that have not succeeded yet
	for i := range ts {
		open[i] = i
	}
	for {
		var batch []target
		for _, i := range open {
			batch = append(batch, ts[i])
		}
		results, err := execDial(ctx, cfg, client, from.pod, batch)
		if err != nil {
			return nil, fmt.Errorf("probe %s: %w", from.pod, err)
		}
		var failed []int
		for k, i := range open {
			cells[i] = judge(from, ts[i], results[k])
			if !cells[i].OK {
				failed = append(failed, i)
			}
		}
		if open = failed; len(open) == 0 || time.Now().After(deadline) || ctx.Err() != nil {
			return cells, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func judge(from place, t target, o outcome) Cell {
	c := Cell{Kind: t.kind, Family: "IPv4", Proto: t.Proto, From: from.node + "/" + from.pod, To: t.to,
		OK: o.OK, Error: o.Error, Took: time.Duration(o.Micros) * time.Microsecond}
	if strings.Contains(t.Addr, ":") {
		c.Family = "IPv6"
	}
	if t.Proto == "dns" {
		c.Family = "-"
	}
	if c.OK && len(t.peers) > 0 && t.Proto != "icmp" {
		seen, err := netip.ParseAddr(o.Peer)
		if err != nil || !slices.Contains(t.peers, seen) {
			c.OK, c.Error = false, fmt.Sprintf("the far end sees %q, want one of %v", o.Peer, t.peers)
		}
	}
	return c
}

// execDial runs "probe dial" in a pod, as kubectl exec would.
func execDial(ctx context.Context, cfg *rest.Config, client kubernetes.Interface, pod string, ts []target) ([]outcome, error) {
	arg, err := json.Marshal(ts)
	if err != nil {
		return nil, err
	}
	req := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(Namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"/probe", "dial", string(arg)}, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	exec, err := remotecommand.NewWebSocketExecutor(cfg, "GET", req.URL().String())
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	if err := exec.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}); err != nil {
		return nil, fmt.Errorf("%w: %s", err, stderr.String())
	}
	var out []outcome
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		return nil, err
	}
	if len(out) != len(ts) {
		return nil, fmt.Errorf("%d answers to %d targets", len(out), len(ts))
	}
	return out, nil
}
