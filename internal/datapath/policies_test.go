// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// Names of what the tests' policies are made of.
const (
	closedRules datapath.RulesetID = iota + 1 // nobody
	webRules                                  // port 7000 of TCP and UDP for friends
	openRules                                 // everybody
)

const friends datapath.ClassID = 1

const (
	nothing datapath.PortTableID = iota + 1
	web
	everything
)

const (
	noRule datapath.CauseID = iota + 1
	webRule
	anyRule
)

const webPort, otherPort = 7000, 7001

// rules is a complete update in which friends have the given addresses.
func rules(pods map[netip.Addr]datapath.PodPolicy, friendly ...netip.Prefix) datapath.PolicyUpdate {
	u := datapath.PolicyUpdate{
		PortTables: map[datapath.PortTableID][]datapath.PortVerdict{
			nothing: {{Cause: noRule}},
			web: {
				{Cause: noRule},
				{Protocol: unix.IPPROTO_TCP, First: webPort, Last: webPort, Allow: true, Cause: webRule},
				{Protocol: unix.IPPROTO_UDP, First: webPort, Last: webPort, Allow: true, Cause: webRule},
			},
			everything: {{Allow: true, Cause: anyRule}},
		},
		Tables: map[datapath.RulesetClass]datapath.PortTableID{
			{Ruleset: closedRules}: nothing, {Ruleset: webRules}: nothing, {Ruleset: webRules, Class: friends}: web, {Ruleset: openRules}: everything,
		},
		Classes: map[netip.Prefix]datapath.ClassID{}, Pods: pods, Complete: true,
	}
	for _, p := range friendly {
		u.Classes[p] = friends
	}
	return u
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// policing gives all addresses of a pod a policy.
func policing(p *pod, policy datapath.PodPolicy) map[netip.Addr]datapath.PodPolicy {
	out := map[netip.Addr]datapath.PodPolicy{}
	for _, a := range p.ep.Addresses {
		out[a] = policy
	}
	return out
}

func addressesOf(p *pod) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range p.ep.Addresses {
		out = append(out, single(a))
	}
	return out
}

func (n *node) enforce(t *testing.T, u datapath.PolicyUpdate) {
	t.Helper()
	must(t, n.dp.UpdatePolicies(context.Background(), u))
}

// serveWeb has a pod answer on both ports by TCP and UDP.
func serveWeb(t *testing.T, p *pod, family string) {
	t.Helper()
	for _, port := range []uint16{webPort, otherPort} {
		tcpServer(t, p.space, netip.AddrPortFrom(p.ip(family), port))
		udpServer(t, p.space, netip.AddrPortFrom(p.ip(family), port))
	}
}

// attempt is something that a client tries, and whether it should succeed.
type attempt struct {
	what string
	try  func() error
	want bool
}

// check tries all at once: what is dropped takes its time.
func check(t *testing.T, all ...attempt) {
	t.Helper()
	results := make([]error, len(all))
	var running sync.WaitGroup
	for i, a := range all {
		running.Go(func() { results[i] = a.try() })
	}
	running.Wait()
	for i, a := range all {
		if (results[i] == nil) != a.want {
			t.Errorf("%s: %v; should it pass: %v", a.what, results[i], a.want)
		}
	}
}

// patienceFor is how long an attempt may take: what is dropped is not waited for as long.
func patienceFor(want bool) time.Duration {
	if want {
		return patience
	}
	return patience / 5
}

func byTCP(what string, from space, to netip.Addr, port uint16, want bool) attempt {
	return attempt{what + " by TCP", func() error {
		_, err := tcpSendWithin(from, netip.AddrPortFrom(to, port), 1000, patienceFor(want))
		return err
	}, want}
}

func byUDP(what string, from space, to netip.Addr, port uint16, size int, want bool) attempt {
	return attempt{what + " by UDP", func() error {
		_, err := udpAskWithin(from, netip.AddrPortFrom(to, port), size, false, patienceFor(want))
		return err
	}, want}
}

func byPing(what string, from space, to netip.Addr, want bool) attempt {
	return attempt{what + " by ping", func() error {
		_, err := pingCounted(from, to, patienceFor(want))
		return err
	}, want}
}

// TestWhatAPodMayReceive: only friends, only the port that they may use, whatever way the
// packets take.
func TestWhatAPodMayReceive(t *testing.T) {
	for _, family := range []string{"IPv4", "IPv6"} {
		for _, routing := range []datapath.Routing{datapath.RoutingTunnel, datapath.RoutingNative} {
			t.Run(family+" "+string(routing), func(t *testing.T) {
				w := newShapedWorld(t, 2, shape{routing: routing, policies: true, services: true})
				one, two := w.nodes[0], w.nodes[1]
				server, near, far, stranger := one.addPod(), one.addPod(), two.addPod(), two.addPod()
				serveWeb(t, server, family)
				serveWeb(t, far, family)
				to := server.ip(family)
				one.enforce(t, rules(policing(server, datapath.PodPolicy{Ingress: webRules}), append(addressesOf(near), addressesOf(far)...)...))
				check(t,
					byTCP("a friend here", near.space, to, webPort, true), byUDP("a friend here", near.space, to, webPort, 100, true),
					byTCP("a friend there", far.space, to, webPort, true), byUDP("a friend there", far.space, to, webPort, 100, true),
					byUDP("a friend there, in fragments", far.space, to, webPort, 4000, true),
					byTCP("a friend to another port", near.space, to, otherPort, false), byUDP("a friend there to another port", far.space, to, otherPort, 4000, false),
					byPing("a friend", near.space, to, false),
					byTCP("a stranger", stranger.space, to, webPort, false), byUDP("a stranger", stranger.space, to, webPort, 100, false),
					byTCP("the node's host", one.space, to, otherPort, true), byPing("the node's host", one.space, to, true),
					byTCP("itself", server.space, to, otherPort, true),
					byTCP("the server asks", server.space, far.ip(family), otherPort, true), byUDP("the server asks", server.space, far.ip(family), otherPort, 4000, true),
					byPing("the server asks", server.space, far.ip(family), true), byPing("the server asks outside", server.space, outsideIP(family), true),
				)
			})
		}
	}
}

// TestWhatAPodMaySend, and that it may answer.
func TestWhatAPodMaySend(t *testing.T) {
	for _, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			w := newShapedWorld(t, 2, shape{policies: true, services: true})
			one, two := w.nodes[0], w.nodes[1]
			client, near, far := one.addPod(), one.addPod(), two.addPod()
			for _, p := range []*pod{client, near, far} {
				serveWeb(t, p, family)
			}
			for _, port := range []uint16{webPort, otherPort} {
				tcpServer(t, w.outside, netip.AddrPortFrom(outsideIP(family), port))
				udpServer(t, w.outside, netip.AddrPortFrom(outsideIP(family), port))
			}
			one.enforce(t, rules(policing(client, datapath.PodPolicy{Egress: webRules}), append(addressesOf(far), single(outsideIP(family)))...))
			from := client.space
			check(t,
				byTCP("to a friend", from, far.ip(family), webPort, true), byUDP("to a friend", from, far.ip(family), webPort, 4000, true),
				byTCP("to its other port", from, far.ip(family), otherPort, false), byUDP("to its other port", from, far.ip(family), otherPort, 100, false),
				byTCP("to a stranger", from, near.ip(family), webPort, false), byPing("to a stranger", from, near.ip(family), false),
				byTCP("to a friend outside", from, outsideIP(family), webPort, true), byUDP("to a friend outside", from, outsideIP(family), webPort, 100, true),
				byTCP("outside, another port", from, outsideIP(family), otherPort, false),
				byTCP("it is asked", near.space, client.ip(family), otherPort, true), byUDP("it is asked", far.space, client.ip(family), otherPort, 4000, true),
				byPing("it is asked", far.space, client.ip(family), true), byTCP("the host asks it", one.space, client.ip(family), otherPort, true),
			)
		})
	}
}

// TestConnectionsAreCut when they are no longer allowed, and go on when they are again.
func TestConnectionsAreCut(t *testing.T) {
	w := newShapedWorld(t, 2, shape{policies: true})
	one, two := w.nodes[0], w.nodes[1]
	near, far := one.addPod(), two.addPod()
	for name, from := range map[string]*pod{"same node": near, "across nodes": far} {
		server := one.addPod()
		pods := policing(server, datapath.PodPolicy{Ingress: openRules})
		one.enforce(t, rules(pods))
		e := newEcho(t, from, server, "IPv4")
		e.await(t)
		one.enforce(t, datapath.PolicyUpdate{Pods: policing(server, datapath.PodPolicy{Ingress: closedRules}), Narrower: true})
		e.drain()
		if answered(e, 5) {
			t.Errorf("%s: a flow goes on that is no longer allowed", name)
		}
		one.enforce(t, datapath.PolicyUpdate{Pods: pods})
		e.await(t)
	}
}

// answered says whether one of n questions is answered.
func answered(e echo, n int) bool {
	buf := make([]byte, 64)
	for range n {
		if _, err := e.Write([]byte("?")); err != nil {
			return false
		}
		_ = e.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := e.Read(buf); err == nil {
			return true
		}
	}
	return false
}

// TestAClassChanges: a pod that becomes a friend may come in at once, one that is none any
// more may not.
func TestAClassChanges(t *testing.T) {
	w := newShapedWorld(t, 1, shape{policies: true})
	one := w.nodes[0]
	server, client := one.addPod(), one.addPod()
	serveWeb(t, server, "IPv6")
	one.enforce(t, rules(policing(server, datapath.PodPolicy{Ingress: webRules})))
	ask := func(want bool) {
		t.Helper()
		check(t, byTCP("the client", client.space, server.ip("IPv6"), webPort, want))
	}
	ask(false)
	of := single(client.ip("IPv6"))
	one.enforce(t, datapath.PolicyUpdate{Classes: map[netip.Prefix]datapath.ClassID{of: friends}})
	ask(true)
	one.enforce(t, datapath.PolicyUpdate{GoneClasses: []netip.Prefix{of}, Narrower: true})
	ask(false)
}

// TestANetworkOfIPv6IsNoneOfIPv4: all addresses of IPv6 are friends, none of IPv4 is.
func TestANetworkOfIPv6IsNoneOfIPv4(t *testing.T) {
	w := newShapedWorld(t, 1, shape{policies: true})
	one := w.nodes[0]
	server, client := one.addPod(), one.addPod()
	serveWeb(t, server, "IPv4")
	serveWeb(t, server, "IPv6")
	one.enforce(t, rules(policing(server, datapath.PodPolicy{Ingress: webRules}), netip.MustParsePrefix("::/0")))
	check(t, byTCP("by IPv6", client.space, server.ip("IPv6"), webPort, true), byTCP("by IPv4", client.space, server.ip("IPv4"), webPort, false))
}

// TestPoliciesOutliveTheAgent: a restart changes nothing until all is known again, and takes
// what is no more then.
func TestPoliciesOutliveTheAgent(t *testing.T) {
	w := newShapedWorld(t, 1, shape{policies: true})
	one := w.nodes[0]
	server, friend, stranger := one.addPod(), one.addPod(), one.addPod()
	serveWeb(t, server, "IPv4")
	all := rules(policing(server, datapath.PodPolicy{Ingress: webRules}), addressesOf(friend)...)
	one.enforce(t, all)
	ask := func() {
		t.Helper()
		check(t, byTCP("a friend", friend.space, server.ip("IPv4"), webPort, true), byTCP("a stranger", stranger.space, server.ip("IPv4"), webPort, false))
	}
	ask()
	seed, err := one.dp.PolicySeed()
	must(t, err)
	stored, err := json.Marshal([]datapath.Endpoint{server.ep, friend.ep, stranger.ep})
	must(t, err)
	before := one.snapshot(t)
	must(t, one.dp.Close())
	ask()
	one.open()
	again, err := one.dp.PolicySeed()
	must(t, err)
	if !slices.Equal(seed, again) || len(seed) == 0 {
		t.Errorf("the seed was %x and is %x", seed, again)
	}
	var eps []datapath.Endpoint
	must(t, json.Unmarshal(stored, &eps))
	_, err = one.dp.RestoreEndpoints(context.Background(), eps)
	must(t, err)
	must(t, one.dp.SyncPeers(context.Background(), nil))
	ask()
	delete(all.Tables, datapath.RulesetClass{Ruleset: openRules})
	delete(all.PortTables, everything)
	one.enforce(t, all)
	ask()
	for _, row := range one.snapshot(t) {
		if !slices.Contains(before, row) {
			t.Errorf("there is now %s", row)
		}
	}
	for _, u := range one.dp.PolicyUsage() {
		if u.Name == "ports" && u.Used != 4 { // nothing 1, web 3
			t.Errorf("%d rows of ports are left, want 4", u.Used)
		}
	}
}

// TestNoRoomForPolicies: the former ones stay in force, and what fits comes into force when
// there is room.
func TestNoRoomForPolicies(t *testing.T) {
	w := newShapedWorld(t, 1, shape{policies: true})
	one := w.nodes[0]
	must(t, one.dp.Close())
	one.opts.PolicyEntries = datapath.MinPolicyEntries
	one.open()
	must(t, one.dp.SyncPeers(context.Background(), nil))
	server, client := one.addPod(), one.addPod()
	serveWeb(t, server, "IPv4")
	one.enforce(t, rules(policing(server, datapath.PodPolicy{Ingress: webRules}), addressesOf(client)...))
	more := datapath.PolicyUpdate{Classes: map[netip.Prefix]datapath.ClassID{}, Pods: policing(server, datapath.PodPolicy{Ingress: openRules})}
	var gone []netip.Prefix
	for i := range datapath.MinPolicyEntries {
		more.Classes[single(nobody(i))] = friends
		gone = append(gone, single(nobody(i)))
	}
	err := one.dp.UpdatePolicies(context.Background(), more)
	wantWords(t, err, "fl_classes", fmt.Sprint(datapath.MinPolicyEntries), "spec.cni.policies.entries")
	check(t, byTCP("a friend", client.space, server.ip("IPv4"), webPort, true), byTCP("a friend, elsewhere", client.space, server.ip("IPv4"), otherPort, false))
	for _, u := range one.dp.PolicyUsage() {
		if u.Name == "classes" && u.Used != u.Max {
			t.Errorf("%+v: it should be full", u)
		}
	}
	late := one.addPod()
	serveWeb(t, late, "IPv4")
	wantWords(t, one.dp.UpdatePolicies(context.Background(), datapath.PolicyUpdate{Pods: policing(late, datapath.PodPolicy{Ingress: closedRules})}), "fl_classes")
	one.enforce(t, datapath.PolicyUpdate{GoneClasses: gone})
	check(t, byTCP("a friend, elsewhere", client.space, server.ip("IPv4"), otherPort, true), byTCP("to the late one", client.space, late.ip("IPv4"), webPort, false))
}

// TestDropsNameTheirCause, and so do questions about a connection.
func TestDropsNameTheirCause(t *testing.T) {
	w := newShapedWorld(t, 1, shape{policies: true})
	one := w.nodes[0]
	server, client := one.addPod(), one.addPod()
	serveWeb(t, server, "IPv4")
	one.enforce(t, rules(policing(server, datapath.PodPolicy{Ingress: webRules}), addressesOf(client)...))
	ctx, cancel := context.WithCancel(context.Background())
	drops, ended := make(chan datapath.Drop, 100), make(chan error, 1)
	go func() {
		ended <- one.dp.Drops(ctx, func(d datapath.Drop) {
			if d.Direction != 0 { // others are of no concern
				drops <- d
			}
		})
	}()
	check(t, byUDP("a friend", client.space, server.ip("IPv4"), otherPort, 10, false))
	got := <-drops
	cancel()
	must(t, <-ended)
	want := datapath.Drop{
		Hook: "from_pod", Reason: "policy_ingress", Cause: noRule, Direction: datapath.Ingress, Protocol: unix.IPPROTO_UDP, Bytes: 14 + 20 + 8 + 10,
		Source: netip.AddrPortFrom(client.ip("IPv4"), got.Source.Port()), Dest: netip.AddrPortFrom(server.ip("IPv4"), otherPort),
	}
	if got != want || got.Source.Port() == 0 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, c := range []struct {
		what  string
		query datapath.PolicyQuery
		want  datapath.PolicyVerdict
	}{
		{"a friend's port", datapath.PolicyQuery{Pod: server.ip("IPv4"), Peer: client.ip("IPv4"), Direction: datapath.Ingress, Protocol: unix.IPPROTO_TCP, Port: webPort},
			datapath.PolicyVerdict{Policed: true, Allow: true, Cause: webRule, Ruleset: webRules, Class: friends, Table: web}},
		{"a stranger's", datapath.PolicyQuery{Pod: server.ip("IPv4"), Peer: outsideIP("IPv4"), Direction: datapath.Ingress, Protocol: unix.IPPROTO_TCP, Port: webPort},
			datapath.PolicyVerdict{Policed: true, Cause: noRule, Ruleset: webRules, Table: nothing}},
		{"what nobody polices", datapath.PolicyQuery{Pod: server.ip("IPv4"), Peer: client.ip("IPv4"), Direction: datapath.Egress, Protocol: unix.IPPROTO_TCP, Port: webPort},
			datapath.PolicyVerdict{Allow: true}},
	} {
		v, err := one.dp.PolicyVerdict(context.Background(), c.query)
		must(t, err)
		if v != c.want {
			t.Errorf("%s: got %+v, want %+v", c.what, v, c.want)
		}
	}
}

// TestServicesAskThePolicyOfTheirBackend, with the client's own address where that is known.
func TestServicesAskThePolicyOfTheirBackend(t *testing.T) {
	for _, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			w := newShapedWorld(t, 2, shape{policies: true, services: true})
			one, two := w.nodes[0], w.nodes[1]
			server, friend, stranger := one.addPod(), two.addPod(), two.addPod()
			serveWeb(t, server, family)
			for _, n := range w.nodes {
				n.setServices(t, datapath.Service{Name: "ns/web", Frontends: []datapath.Frontend{
					{Address: serviceIP(family, 9), Port: 80, Protocol: datapath.TCP, Kind: datapath.FrontendClusterIP},
					{Address: serviceIP(family, 9), Port: 80, Protocol: datapath.UDP, Kind: datapath.FrontendClusterIP},
				}, Pools: []datapath.Pool{{Backends: []datapath.Backend{{Address: server.ip(family), Port: webPort, Local: n == one}}}}})
			}
			one.enforce(t, rules(policing(server, datapath.PodPolicy{Ingress: webRules}), addressesOf(friend)...))
			two.enforce(t, rules(policing(stranger, datapath.PodPolicy{Egress: openRules})))
			to := serviceIP(family, 9)
			check(t,
				byTCP("a friend", friend.space, to, 80, true), byUDP("a friend", friend.space, to, 80, 100, true),
				byTCP("a stranger", stranger.space, to, 80, false), byUDP("a stranger", stranger.space, to, 80, 100, false),
			)
			two.enforce(t, rules(policing(friend, datapath.PodPolicy{Egress: closedRules})))
			check(t, byTCP("a friend that may send nothing", friend.space, to, 80, false))
		})
	}
}

// TestServicesOfTheStack: where kube-proxy translates Services, what a pod may send is judged
// after that, and nothing leaves where nobody judges.
func TestServicesOfTheStack(t *testing.T) {
	for _, family := range []string{"IPv4", "IPv6"} {
		for _, routing := range []datapath.Routing{datapath.RoutingTunnel, datapath.RoutingNative} {
			t.Run(family+" "+string(routing), func(t *testing.T) {
				w := newShapedWorld(t, 2, shape{routing: routing, policies: true})
				one, two := w.nodes[0], w.nodes[1]
				client, near, far, stranger := one.addPod(), one.addPod(), two.addPod(), one.addPod()
				at := map[*pod]netip.Addr{near: serviceIP(family, 1), far: serviceIP(family, 2), stranger: serviceIP(family, 3)}
				for p, service := range at {
					serveWeb(t, p, family)
					one.addService(t, service, p.ip(family))
				}
				tcpServer(t, w.outside, netip.AddrPortFrom(outsideIP(family), webPort))
				udpServer(t, w.outside, netip.AddrPortFrom(outsideIP(family), webPort))
				tcpServer(t, one.space, netip.AddrPortFrom(one.uplinkIP(family), webPort))
				one.addService(t, serviceIP(family, 4), one.uplinkIP(family))
				pods := policing(client, datapath.PodPolicy{Ingress: closedRules, Egress: webRules})
				one.enforce(t, rules(pods, append(addressesOf(near), addressesOf(far)...)...))
				from := client.space
				check(t,
					byTCP("to a friend here", from, at[near], webPort, true), byUDP("to a friend here", from, at[near], webPort, 100, true),
					byTCP("to a friend there", from, at[far], webPort, true), byUDP("to a friend there", from, at[far], webPort, 100, true),
					byTCP("to its other port", from, at[far], otherPort, false), byUDP("to its other port", from, at[near], otherPort, 100, false),
					byTCP("to a stranger", from, at[stranger], webPort, false), byUDP("to a stranger", from, at[stranger], webPort, 100, false),
					byTCP("outside", from, outsideIP(family), webPort, false), byUDP("outside", from, outsideIP(family), webPort, 100, false),
					byTCP("to the host", from, one.uplinkIP(family), webPort, false), byTCP("to the host's service", from, serviceIP(family, 4), webPort, false),
					byTCP("a stranger outside", stranger.space, outsideIP(family), webPort, true),
				)
				one.enforce(t, rules(pods, single(outsideIP(family)), single(one.uplinkIP(family))))
				check(t,
					byTCP("outside, a friend", from, outsideIP(family), webPort, true), byUDP("outside, a friend", from, outsideIP(family), webPort, 100, true),
					byTCP("to the host, a friend", from, one.uplinkIP(family), webPort, true), byTCP("to a former friend", from, at[far], webPort, false),
				)
				if count(t, one, "to_pod", "policy_egress") == 0 || count(t, one, "to_uplink", "policy_egress") == 0 {
					t.Error("nothing was judged where it leaves the stack: the test does not reach it")
				}
			})
		}
	}
}

// TestAnAddressThatBecomesAPods: what was allowed towards it before, as it was nobody's, is not
// for long.
func TestAnAddressThatBecomesAPods(t *testing.T) {
	w := newShapedWorld(t, 1, shape{policies: true})
	one := w.nodes[0]
	client := one.addPod()
	spec := one.podSpec(client.space, one.pods+1) // of the next pod
	pods := policing(client, datapath.PodPolicy{Egress: openRules})
	for _, a := range spec.Addresses {
		pods[a] = datapath.PodPolicy{Ingress: closedRules}
	}
	one.enforce(t, rules(pods))
	at := netip.AddrPortFrom(pick(spec.Addresses, "IPv4"), webPort)
	c, err := udpDial(client.space, at, false)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	_, _ = c.Write([]byte("anybody?"))
	server := one.addPod()
	udpServer(t, server.space, at)
	if answered(echo{c}, 10) {
		t.Error("a flow from before lets the client in")
	}
	check(t, byUDP("by another port", client.space, at.Addr(), at.Port(), 10, false), byUDP("the host", one.space, at.Addr(), at.Port(), 10, true))
}
