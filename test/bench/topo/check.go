// SPDX-License-Identifier: Apache-2.0

package topo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/test/bench/load"
)

// carriage is how packets of pods look on the underlay.
type carriage string

const (
	tunnelled carriage = "in VXLAN"
	routed    carriage = "as they are"
)

// checkFor is how long packets are sent for the check.
const checkFor = 50 * time.Millisecond

// check sends packets and looks at them on the underlay, so that no figure stands under
// the name of a way that the packets did not go.
func (w *World) check(ctx context.Context, p *Pair) error {
	spec := load.Spec{Case: load.TCPRR, Server: p.Server4, Duration: checkFor}
	if p.port == "" {
		_, err := load.Run(ctx, p.Client.NS, p.Server.NS, spec)
		return err
	}
	tap, err := w.underlay.tap(p.port)
	if err != nil {
		return err
	}
	defer unix.Close(tap) //nolint:errcheck // read only
	if _, err := load.Run(ctx, p.Client.NS, p.Server.NS, spec); err != nil {
		return err
	}
	seen, err := carried(tap)
	if err != nil {
		return err
	}
	if other := map[carriage]carriage{tunnelled: routed, routed: tunnelled}[p.carry]; seen[p.carry] == 0 || seen[other] > 0 {
		return fmt.Errorf("pods' packets cross the underlay %s (%d) and %s (%d), want %s alone", tunnelled, seen[tunnelled], routed, seen[routed], p.carry)
	}
	return nil
}

// tap opens a packet socket on a device.
func (s *Space) tap(device string) (fd int, err error) {
	l, err := s.nl.LinkByName(device)
	if err != nil {
		return -1, fmt.Errorf("device %s: %w", device, err)
	}
	err = s.Do(func() error {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(networkOrder(unix.ETH_P_ALL))); err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: l.Attrs().Index})
	})
	return fd, err
}

func networkOrder(v uint16) uint16 { return v<<8 | v>>8 }

// carried counts what the tap saw, by how pods' packets were carried.
func carried(tap int) (map[carriage]int, error) {
	seen := map[carriage]int{}
	return seen, eachPacket(tap, func(packet []byte) {
		if how := carriageOf(packet); how != "" {
			seen[how]++
		}
	})
}

// eachPacket reads what a tap has seen, from the network header on.
func eachPacket(tap int, look func(packet []byte)) error {
	packet := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(tap, packet, 0)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read packets: %w", err)
		}
		look(packet[:n])
	}
}

// carriageOf tells a pod's packet, from its IPv4 header on; "" for others.
func carriageOf(packet []byte) carriage {
	const header = 20
	if len(packet) < header+4 || packet[0]>>4 != 4 {
		return ""
	}
	switch {
	case packet[12] == 10: // pods' addresses; nodes have others
		return routed
	case packet[9] == unix.IPPROTO_UDP && binary.BigEndian.Uint16(packet[header+2:]) == tunnelPort:
		return tunnelled
	}
	return ""
}
