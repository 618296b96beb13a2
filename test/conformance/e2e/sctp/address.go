// SPDX-License-Identifier: Apache-2.0

package sctp

import (
	"net"
	"strconv"
)

// SCTPAddr is one end of an association.
type SCTPAddr struct {
	IPAddrs []net.IPAddr // empty: any
	Port    int
}

// Network is that of net.Addr.
func (a *SCTPAddr) Network() string { return "sctp" }

// String is an address with its port.
func (a *SCTPAddr) String() string {
	host := ""
	if len(a.IPAddrs) > 0 {
		host = a.IPAddrs[0].String()
	}
	return net.JoinHostPort(host, strconv.Itoa(a.Port))
}

// ResolveSCTPAddr reads HOST:PORT.
func ResolveSCTPAddr(_, text string) (*SCTPAddr, error) {
	u, err := net.ResolveUDPAddr("udp", text)
	if err != nil {
		return nil, err
	}
	a := &SCTPAddr{Port: u.Port}
	if u.IP != nil {
		a.IPAddrs = []net.IPAddr{{IP: u.IP, Zone: u.Zone}}
	}
	return a, nil
}

// families are the networks of raw sockets on which an address is found.
func (a *SCTPAddr) families() []string {
	switch {
	case len(a.IPAddrs) == 0:
		return []string{"ip4:132", "ip6:132"}
	case a.IPAddrs[0].IP.To4() != nil:
		return []string{"ip4:132"}
	}
	return []string{"ip6:132"}
}

func (a *SCTPAddr) ip() *net.IPAddr {
	if len(a.IPAddrs) == 0 {
		return nil
	}
	return &a.IPAddrs[0]
}
