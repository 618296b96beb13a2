// SPDX-License-Identifier: Apache-2.0

package service

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead-io/fairlead/internal/agent/service/view"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// kinds are the names of the kinds of frontends.
var kinds = map[datapath.FrontendKind]string{
	datapath.FrontendClusterIP: "ClusterIP", datapath.FrontendNodePort: "NodePort",
	datapath.FrontendExternal: "External", datapath.FrontendHostPort: "HostPort",
}

// Views returns what the node thinks of all Services, sorted, without their backends.
func (e *Engine) Views() []view.Service {
	out := make([]view.Service, 0, len(e.services))
	for _, name := range slices.Sorted(maps.Keys(e.services)) {
		v, _ := e.View(name)
		v.Backends = nil
		out = append(out, v)
	}
	return out
}

// View returns what the node thinks of a Service ("namespace/name"); false if it knows none.
func (e *Engine) View(name string) (view.Service, bool) {
	s, ok := e.services[name]
	if !ok {
		return view.Service{}, false
	}
	decided := e.balance(name, s)
	v := view.Service{Namespace: s.msg.GetNamespace(), Name: s.msg.GetName(), Digest: e.digest(name, s)}
	inside, outside := map[used]bool{}, map[used]bool{}
	for _, f := range decided.Frontends {
		in, out := decided.Pools[f.Inside].Backends, decided.Pools[f.Outside].Backends
		note(inside, in, f.Protocol)
		if f.Kind != datapath.FrontendClusterIP {
			note(outside, out, f.Protocol)
		}
		v.Frontends = append(v.Frontends, view.Frontend{
			Address: f.Address.String(), Port: f.Port, Protocol: f.Protocol.String(), Kind: kinds[f.Kind],
			Inside: len(in), Outside: len(out), AffinitySeconds: int(f.Affinity.Seconds()),
		})
	}
	for _, p := range s.msg.GetPorts() {
		for _, v4 := range []bool{true, false} {
			if of := addressesOf(s.msg, v4); len(of.cluster)+len(of.external) == 0 {
				continue
			}
			for _, c := range e.candidates(name, s, p, v4) {
				at := used{netip.AddrPortFrom(c.address, c.port), datapath.Protocol(p.GetProtocol())}
				b := view.Backend{
					Address: c.address.String(), Port: c.port, PortName: p.GetName(), Protocol: at.protocol.String(),
					Node: c.node, Zone: c.zone, Ready: c.ready, Serving: c.serving, Terminating: c.terminating,
					Inside: inside[at], Outside: outside[at],
				}
				v.Total++
				if b.Inside || b.Outside {
					v.Usable++
				} else {
					b.Why = e.why(c)
				}
				v.Backends = append(v.Backends, b)
			}
		}
	}
	return v, true
}

func note(in map[used]bool, backends []datapath.Backend, p datapath.Protocol) {
	for _, b := range backends {
		in[used{netip.AddrPortFrom(b.Address, b.Port), p}] = true
	}
}

// why says what keeps an endpoint from being used.
func (e *Engine) why(c candidate) string {
	switch {
	case c.terminating && c.serving:
		return "it is terminating, and others are ready"
	case !c.ready:
		return "it is not ready"
	case len(c.nodeHints) > 0 && !slices.Contains(c.nodeHints, e.node):
		return "it is meant for node " + strings.Join(c.nodeHints, ", ")
	case len(c.zoneHints) > 0 && !slices.Contains(c.zoneHints, e.zone):
		return "it is meant for zone " + strings.Join(c.zoneHints, ", ")
	case !c.local:
		return "it is on another node, and the traffic policy is Local"
	}
	return "no address of the Service leads to it"
}

// digest is over what the node was told.
func (e *Engine) digest(name string, s *service) string {
	h := sha256.New()
	body, _ := proto.MarshalOptions{Deterministic: true}.Marshal(s.msg) // it was decoded, so it can be encoded
	h.Write(body)
	for _, sl := range e.byService[name] {
		sl.digest(h)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func (s *slice) digest(h hash.Hash) {
	fmt.Fprintf(h, "\n%q", s.name) //nolint:errcheck // a hash takes everything
	for _, p := range s.ports {
		fmt.Fprintf(h, " %q %d %d", p.name, p.protocol, p.number) //nolint:errcheck // as above
	}
	for _, o := range s.endpoints {
		fmt.Fprintf(h, "\n%s %t %t %t %q %q %q %q", o.address, o.ready, o.serving, o.terminating, o.node, o.zone, o.zoneHints, o.nodeHints) //nolint:errcheck // as above
	}
}
