// SPDX-License-Identifier: Apache-2.0

package load

import (
	"crypto/sha256"
	"net"
)

// PodMAC returns the MAC address of a pod's interface.
func PodMAC(containerID, ifName string) net.HardwareAddr {
	return derivedMAC("pod/" + containerID + "/" + ifName)
}

// derivedMAC is locally administered (bit 1 of the first byte) and unicast (bit 0 is 0).
func derivedMAC(seed string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(seed))
	mac := net.HardwareAddr(sum[:6:6])
	mac[0] = mac[0]&^0x01 | 0x02
	return mac
}

// RouterMAC returns the MAC address of a node's gateway. It is the same each time for one
// node name, so that pods' neighbour entries stay right over a restart.
func RouterMAC(nodeName string) net.HardwareAddr { return derivedMAC("router/" + nodeName) }
