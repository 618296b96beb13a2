// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"net/netip"
)

// Host numbers within a cluster's networks.
const (
	gatewayHost      = 1
	controlPlaneHost = 2
	dnsHost          = 10
	firstNodeHost    = 11
)

type ranges struct{ nodes, pods, services []netip.Prefix }

// rangesOf gives cluster i its networks. The pod ranges are sized for a /24 and a /64 per node; a
// service range of IPv6 may have at most 20 host bits, so it is a /112.
func rangesOf(i int) ranges {
	return ranges{
		nodes:    nodeNetworks(i),
		pods:     []netip.Prefix{prefix("10.%d.0.0/16", 32+i), prefix("fd00:40:%x::/48", i)},
		services: []netip.Prefix{prefix("10.%d.0.0/16", 128+i), prefix("fd00:50:%x::/112", i)},
	}
}

// nodeNetworks are the networks of cluster i's machines.
func nodeNetworks(i int) []netip.Prefix {
	return []netip.Prefix{prefix("172.30.%d.0/24", i), prefix("fd00:30:%x::/64", i)}
}

// outside uses the documentation ranges: they look like the internet and exist nowhere.
func outside(id string) Outside {
	networks := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:113::/64")}
	return Outside{
		Netns:    "fl" + id + "-outside",
		IPv4:     host(networks[0], dnsHost),
		IPv6:     host(networks[1], dnsHost),
		HTTPPort: OutsideHTTP, UDPPort: OutsideUDP,
		Networks: networks,
		Gateways: []netip.Addr{host(networks[0], gatewayHost), host(networks[1], gatewayHost)},
	}
}

// host returns the address with the number (1 to 255) in the last byte of a network that ends in zeros.
func host(network netip.Prefix, number int) netip.Addr {
	b := network.Masked().Addr().AsSlice()
	b[len(b)-1] = byte(number)
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

func prefix(format string, n int) netip.Prefix { return netip.MustParsePrefix(fmt.Sprintf(format, n)) }
