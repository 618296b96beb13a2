// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/link"
	"github.com/fairlead-io/fairlead/internal/datapath/load"
	"github.com/fairlead-io/fairlead/internal/datapath/netns"
	"github.com/fairlead-io/fairlead/internal/datapath/route"
)

// hostIfPrefix begins the name of a host end; hostIfDigits is how many hexadecimal digits follow.
const (
	hostIfPrefix = "fl"
	hostIfDigits = 12
)

// podWay is how programs are attached to pods' host ends. A tcx link would wait for two RCU
// grace periods (23 ms of an ADD); nobody else has business at these devices, so that the
// order among several programs, which tcx is better at, does not matter.
const podWay = link.Clsact

// hostIfOf returns the name of an endpoint's host end.
func hostIfOf(containerID, ifName string) string {
	sum := sha256.Sum256([]byte(containerID + "/" + ifName))
	return hostIfPrefix + hex.EncodeToString(sum[:])[:hostIfDigits]
}

// isHostIf says whether a device's name is one that hostIfOf makes.
func isHostIf(name string) bool {
	if len(name) != 2+hostIfDigits || !strings.HasPrefix(name, "fl") {
		return false
	}
	return strings.Trim(name[2:], "0123456789abcdef") == ""
}

// AddEndpoint makes a pod's interface: the veth, its addresses and routes in the pod, the
// rows and routes on the host, and last the programs. Whatever fails, nothing of it stays.
// An endpoint that is there already, as asked for, is returned as it is.
func (d *Datapath) AddEndpoint(ctx context.Context, spec EndpointSpec) (Endpoint, error) {
	var ep Endpoint
	err := d.locked(ctx, func() (err error) {
		ep, err = d.addEndpoint(ctx, spec)
		return err
	})
	if err != nil {
		return Endpoint{}, fmt.Errorf("container %s: interface %s: %w", spec.ContainerID, spec.IfName, err)
	}
	return ep, nil
}

func (d *Datapath) addEndpoint(ctx context.Context, spec EndpointSpec) (Endpoint, error) {
	if err := d.checkSpec(spec); err != nil {
		return Endpoint{}, err
	}
	hostIf := hostIfOf(spec.ContainerID, spec.IfName)
	if ep, ok := d.live[hostIf]; ok {
		if slices.Equal(ep.Addresses, spec.Addresses) && ep.Netns == spec.Netns && d.check(ep) == nil {
			return ep, nil
		}
		if err := d.removeEndpoint(ep); err != nil {
			return Endpoint{}, err
		}
	}
	for _, a := range spec.Addresses {
		if row, ok := d.endpoints.Get(a); ok {
			return Endpoint{}, fmt.Errorf("address %s is in use by the endpoint on device %d: release it before it is given again", a, row.Ifindex)
		}
	}
	pod, err := netns.Open(spec.Netns)
	if err != nil {
		return Endpoint{}, err
	}
	defer pod.Close()
	if pod.Same(d.ns) {
		return Endpoint{}, fmt.Errorf("netns %s is the host's own network namespace: a pod on the host's network needs no interface", spec.Netns)
	}
	// A veth of this name that is in no book was left by a run that was killed.
	if err := d.removeDevice(hostIf); err != nil {
		return Endpoint{}, err
	}
	ep := Endpoint{
		EndpointSpec: spec,
		HostIf:       hostIf,
		PodMAC:       MAC(load.PodMAC(spec.ContainerID, spec.IfName)),
		HostMAC:      MAC(load.RouterMAC(d.plan.node.Name)),
		MTU:          d.plan.mtu,
		LinkMTU:      d.plan.linkMTU,
	}
	ep.Addresses = slices.Clone(spec.Addresses)
	for _, a := range spec.Addresses {
		ep.Gateways = append(ep.Gateways, d.gatewayFor(a))
	}
	if err := d.build(ctx, &ep, pod); err != nil {
		return Endpoint{}, errors.Join(err, d.removeEndpoint(ep))
	}
	d.live[hostIf] = ep
	return ep, nil
}

// build makes everything of an endpoint; on an error the caller removes what there is.
func (d *Datapath) build(ctx context.Context, ep *Endpoint, pod *netns.NS) (err error) {
	ep.HostIfIndex, err = link.AddVeth(d.nl, link.Veth{
		HostName: ep.HostIf, HostMAC: net.HardwareAddr(ep.HostMAC),
		PodName: ep.IfName, PodMAC: net.HardwareAddr(ep.PodMAC), Pod: pod, MTU: ep.LinkMTU,
	})
	if err != nil {
		return err
	}
	if err := link.ConfigurePod(pod, podInterface(*ep)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.connect(*ep); err != nil {
		return err
	}
	return link.AwaitRunning(ctx, pod, podInterface(*ep))
}

// connect does the host's side of an endpoint whose veth is there: rows, then programs,
// then the device goes up, then routes (which need it up).
func (d *Datapath) connect(ep Endpoint) error {
	policed := false
	for _, a := range ep.Addresses {
		row := d.endpointRow(ep, a)
		_, known := d.endpoints.Realised(a)
		policed = policed || !known && row.Ingress|row.Egress != 0
		d.endpoints.SetDesired(a, row)
		d.setSubject(a, ep.HostIfIndex)
	}
	before := d.rowChanges()
	if err := errors.Join(d.subjects.Sync(), d.endpoints.Sync(), d.epochAfter(before)); err != nil {
		return err
	}
	if policed {
		// Connections to the address may have been allowed while it was no pod's.
		if err := d.maps.NextEpoch(); err != nil {
			return err
		}
	}
	if err := d.attachEndpoint(ep); err != nil {
		return err
	}
	if err := link.SetUp(d.nl, ep.HostIf); err != nil {
		return err
	}
	if err := link.SetNeighbours(d.nl, ep.HostIfIndex, net.HardwareAddr(ep.PodMAC), ep.Addresses); err != nil {
		return err
	}
	for _, a := range ep.Addresses {
		d.routes.SetDesired(hostPrefix(a), d.endpointRoute(ep, a))
	}
	return d.routes.Sync()
}

func podInterface(ep Endpoint) link.PodInterface {
	return link.PodInterface{
		Name: ep.IfName, MAC: net.HardwareAddr(ep.PodMAC), MTU: ep.LinkMTU, RouteMTU: ep.MTU,
		Addresses: ep.Addresses, Gateways: ep.Gateways,
	}
}

// endpointRow is the row of one of an endpoint's addresses. It has the pod's policies from
// the start, before any program is attached.
func (d *Datapath) endpointRow(ep Endpoint, a netip.Addr) bpf.Endpoint {
	p := d.policyOf(a)
	return bpf.Endpoint{
		Ifindex: uint32(ep.HostIfIndex), Mac: [6]uint8(ep.PodMAC),
		Ingress: uint64(p.Ingress), Egress: uint64(p.Egress),
	}
}

func (d *Datapath) endpointRoute(ep Endpoint, a netip.Addr) route.Route {
	return route.Route{Ifindex: ep.HostIfIndex, Source: d.gatewayFor(a)}
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// attachEndpoint attaches the pod's programs, unless those of another layout still wait to
// be taken over from.
func (d *Datapath) attachEndpoint(ep Endpoint) error {
	if _, known := d.live[ep.HostIf]; known && d.waiting {
		return nil
	}
	// Egress first: what the stack sends must be noted before the pod can answer.
	return errors.Join(
		link.Attach(podWay, d.pins.Link(ep.HostIf, "to"), ep.HostIfIndex, link.Egress, d.programs.At(bpf.HookToPod)),
		link.Attach(podWay, d.pins.Link(ep.HostIf, "from"), ep.HostIfIndex, link.Ingress, d.programs.At(bpf.HookFromPod)),
	)
}

// checkSpec refuses what cannot become an endpoint of this node.
func (d *Datapath) checkSpec(spec EndpointSpec) error {
	if spec.ContainerID == "" {
		return errors.New("containerID is empty")
	}
	if spec.IfName == "" || len(spec.IfName) > 15 || strings.ContainsAny(spec.IfName, "/: \t\n") || spec.IfName == "." || spec.IfName == ".." {
		return fmt.Errorf("ifName %q is not a name that a device can have (1 to 15 bytes without '/', ':' or space)", spec.IfName)
	}
	if spec.Netns == "" {
		return errors.New("netns is empty")
	}
	if len(spec.Addresses) == 0 {
		return errors.New("addresses is empty")
	}
	for i, a := range spec.Addresses {
		if slices.ContainsFunc(spec.Addresses[:i], func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
			return fmt.Errorf("addresses %v: at most one of each family", spec.Addresses)
		}
		if !slices.ContainsFunc(d.plan.node.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return fmt.Errorf("address %s is not in spec.podCIDRs %v of node %s", a, d.plan.node.PodCIDRs, d.plan.node.Name)
		}
		if slices.Contains(d.plan.gateways, a) {
			return fmt.Errorf("address %s is the gateway's", a)
		}
	}
	return nil
}

// RemoveEndpoint removes an endpoint. That it, its veth or its network namespace is gone
// is no error; rows that have another endpoint's device by now are left alone.
func (d *Datapath) RemoveEndpoint(ctx context.Context, ep Endpoint) error {
	return d.locked(ctx, func() error {
		ep.HostIf = hostIfOf(ep.ContainerID, ep.IfName) // what is stored may be damaged
		if known, ok := d.live[ep.HostIf]; ok {
			ep = known
		}
		if err := d.removeEndpoint(ep); err != nil {
			return fmt.Errorf("container %s: interface %s: %w", ep.ContainerID, ep.IfName, err)
		}
		return nil
	})
}

func (d *Datapath) removeEndpoint(ep Endpoint) error {
	delete(d.live, ep.HostIf)
	for _, a := range ep.Addresses {
		if row, ok := d.endpoints.Get(a); ok && int(row.Ifindex) == ep.HostIfIndex {
			d.endpoints.Unset(a)
			d.subjects.Unset(uint32(ep.HostIfIndex))
		}
		if r, ok := d.routes.Get(hostPrefix(a)); ok && r.Ifindex == ep.HostIfIndex {
			d.routes.Unset(hostPrefix(a))
		}
	}
	before := d.rowChanges()
	// The device last: while it is there its index cannot become another's.
	return errors.Join(d.routes.Sync(), d.endpoints.Sync(), d.subjects.Sync(), d.epochAfter(before), d.removeDevice(ep.HostIf))
}

// removeDevice removes a host end, with it the pod's end, and its attachments.
func (d *Datapath) removeDevice(hostIf string) error {
	if err := link.DeleteVeth(d.nl, hostIf); err != nil {
		return err
	}
	return errors.Join(link.Detach(d.pins.Link(hostIf, "from")), link.Detach(d.pins.Link(hostIf, "to")))
}
