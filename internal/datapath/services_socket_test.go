// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// virtual is a ClusterIP of a family.
func virtual(family string) netip.Addr {
	if family == "IPv4" {
		return netip.MustParseAddr("10.96.0.7")
	}
	return netip.MustParseAddr("fd96::7")
}

// clusterIP is a Service of one port in front of backends.
func clusterIP(family string, port uint16, backends ...datapath.Backend) datapath.Service {
	s := datapath.Service{Name: "default/web-" + family, Pools: []datapath.Pool{{Backends: backends}}}
	for _, protocol := range []datapath.Protocol{datapath.TCP, datapath.UDP} {
		s.Frontends = append(s.Frontends, datapath.Frontend{Address: virtual(family), Port: port, Protocol: protocol, Kind: datapath.FrontendClusterIP})
	}
	return s
}

// TestSocketsConnectToBackends: a socket that connects to a Service is one to its backend,
// and says that it is connected to the Service.
func TestSocketsConnectToBackends(t *testing.T) {
	w := newShapedWorld(t, 2, shape{services: true})
	one, two := w.nodes[0], w.nodes[1]
	client, here, there := one.addPod(), one.addPod(), two.addPod()
	for _, f := range families {
		for name, to := range map[string]*pod{"a pod of the node": here, "a pod of another node": there, "the client itself": client} {
			t.Run(f+", "+name, func(t *testing.T) {
				at, service := netip.AddrPortFrom(to.ip(f), 8080), netip.AddrPortFrom(virtual(f), 80)
				tcpServer(t, to.space, at)
				udpServer(t, to.space, at)
				must(t, one.dp.UpdateServices(context.Background(), datapath.ServiceUpdate{Complete: true, Set: []datapath.Service{
					clusterIP(f, 80, datapath.Backend{Address: at.Addr(), Port: at.Port(), Local: to != there})}}))
				one.asProcess(t, func() {
					for from, seen := range map[space]netip.Addr{client.space: client.ip(f), one.space: {}} {
						got, err := tcpSend(from, service, 100000)
						if err != nil || seen.IsValid() && got != seen {
							t.Errorf("TCP: the backend saw %v (%v), want %v", got, err, seen)
						}
						if got, err := udpAsk(from, service, 100, false); err != nil || seen.IsValid() && got != seen {
							t.Errorf("UDP: the backend saw %v (%v), want %v", got, err, seen)
						}
						if answered, err := askUnconnected(from, service); err != nil || answered != service {
							t.Errorf("UDP without a connection: %v answered (%v), want %v", answered, err, service)
						}
						must(t, from.Do(func() error {
							c, err := net.Dial("tcp", service.String())
							if err != nil {
								return err
							}
							defer c.Close()
							if peer := c.RemoteAddr().String(); peer != service.String() {
								t.Errorf("the socket says that it is connected to %s, want %s", peer, service)
							}
							return nil
						}))
					}
				})
			})
		}
	}
}

// TestSocketsAreRefusedAtOnce: nobody waits for a Service without endpoints.
func TestSocketsAreRefusedAtOnce(t *testing.T) {
	w := newShapedWorld(t, 1, shape{services: true})
	one := w.nodes[0]
	client := one.addPod()
	for _, f := range families {
		must(t, one.dp.UpdateServices(context.Background(), datapath.ServiceUpdate{Set: []datapath.Service{clusterIP(f, 80)}}))
		one.asProcess(t, func() {
			must(t, client.Do(func() error {
				began := time.Now()
				c, err := net.Dial("tcp", netip.AddrPortFrom(virtual(f), 80).String())
				if !errors.Is(err, syscall.ECONNREFUSED) || time.Since(began) > time.Second {
					t.Errorf("%s: got %v after %v, want a refusal at once", f, err, time.Since(began))
				}
				if err == nil {
					c.Close()
				}
				u, err := net.ListenPacket("udp", ":0")
				if err != nil {
					return err
				}
				defer u.Close()
				_, err = u.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(virtual(f), 80)))
				if !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("%s: a datagram was sent with %v, want a refusal", f, err)
				}
				return nil
			}))
		})
	}
}

// askUnconnected sends a datagram from a socket that is not connected, and returns who
// seems to answer.
func askUnconnected(from space, to netip.AddrPort) (answered netip.AddrPort, err error) {
	err = from.Do(func() error {
		u, err := net.ListenUDP("udp", nil)
		if err != nil {
			return err
		}
		defer u.Close()
		if _, err := u.WriteToUDPAddrPort([]byte("question"), to); err != nil {
			return err
		}
		if err := u.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		_, answered, err = u.ReadFromUDPAddrPort(make([]byte, 100))
		answered = netip.AddrPortFrom(answered.Addr().Unmap(), answered.Port())
		return err
	})
	return answered, err
}
