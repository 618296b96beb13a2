// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers for one name. It returns its address.
func nameServer(t *testing.T, host string) string {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if answer := answerTo(buffer[:n], host); answer != nil {
				_, _ = conn.WriteToUDPAddrPort(answer, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func answerTo(question []byte, host string) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}
	m.Additionals = nil
	if q.Name.String() != host {
		m.RCode = dnsmessage.RCodeNameError
	} else if q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 5},
			Body:   &dnsmessage.AResource{A: [4]byte{10, 96, 0, 9}},
		}}
	}
	packed, _ := m.Pack()
	return packed
}

func resolverAt(address string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", address)
	}}
}

// TestNames: a name that the servers know, one that they do not, and servers that are gone.
func TestNames(t *testing.T) {
	server := nameServer(t, "fairlead-probe.ns.svc.cluster.local.")
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, c := range map[string]struct {
		server, host string
		lost         bool
	}{
		"known":          {server, "fairlead-probe.ns.svc.cluster.local.", false},
		"unknown":        {server, "other.ns.svc.cluster.local.", true},
		"silent servers": {silent.LocalAddr().String(), "fairlead-probe.ns.svc.cluster.local.", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var first *Attempt
			dns{}.Run(ctx, &Env{Host: c.host, Resolver: resolverAt(c.server)}, func(a Attempt) {
				if first == nil {
					first = &a
					cancel()
				}
			})
			if first == nil || first.Lost != c.lost || first.Took > fate+time.Second {
				t.Errorf("the first attempt is %+v, want lost %t", first, c.lost)
			}
		})
	}
}

// TestTheServicesAddressIsAskedFor, and the one that is known is taken when nobody answers.
func TestTheServicesAddressIsAskedFor(t *testing.T) {
	host := "fairlead-probe.ns.svc.cluster.local."
	known := netip.MustParseAddr("10.96.0.1")
	env := &Env{Host: host, Service: known, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Resolver: resolverAt(nameServer(t, host))}
	if got := addressesOf(t.Context(), env); len(got) != 1 || got[0] != netip.MustParseAddr("10.96.0.9") {
		t.Errorf("with name servers: %v", got)
	}
	env.Resolver = resolverAt(nameServer(t, "other."))
	if got := addressesOf(t.Context(), env); len(got) != 1 || got[0] != known {
		t.Errorf("without: %v", got)
	}
}
