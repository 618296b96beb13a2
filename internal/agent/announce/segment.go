// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// segment is this node's place on one device: it answers for the addresses that it holds.
//
// It reads and writes frames, which takes CAP_NET_RAW. Sockets of the kernel would not do:
// the kernel answers only for addresses that a device has, and these have none, since the
// node itself must not be reached by them.
type segment struct {
	index  int
	mac    mac
	arp    *os.File
	ndp    *os.File
	groups int // a UDP socket that is a member of multicast groups; -1: the device has no IPv6
	broken chan<- struct{}
	done   sync.WaitGroup

	mu     sync.Mutex
	held   map[netip.Addr]bool
	failed bool
}

// openSegment starts to listen on a device. broken gets a value when the segment has to be
// opened again; nothing waits for its reader.
func openSegment(dev *net.Interface, broken chan<- struct{}) (*segment, error) {
	if len(dev.HardwareAddr) != 6 {
		return nil, fmt.Errorf("device %s is no Ethernet: addresses cannot be announced on it; name another in spec.announce.interfaces of the AddressPool", dev.Name)
	}
	s := &segment{index: dev.Index, mac: mac(dev.HardwareAddr), groups: -1, broken: broken, held: map[netip.Addr]bool{}}
	var err1, err2, err3 error
	s.arp, err1 = listen(dev, unix.ETH_P_ARP, arpFilter)
	s.ndp, err2 = listen(dev, unix.ETH_P_IPV6, nsFilter)
	s.groups, err3 = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err3, unix.EAFNOSUPPORT) {
		s.groups, err3 = -1, nil
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		s.close()
		return nil, fmt.Errorf("device %s: frames cannot be read (does the agent have CAP_NET_RAW?): %w", dev.Name, err)
	}
	s.done.Go(func() { s.serve(s.arp, parseARP, answerARP) })
	s.done.Go(func() { s.serve(s.ndp, parseNS, answerNS) })
	return s, nil
}

// Requests that are for a VLAN, or that a device in promiscuous mode sees although they
// are for others, are none of ours.
func requests(more ...bpf.Instruction) []bpf.Instruction {
	all := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1}, bpf.RetConstant{},
		bpf.LoadExtension{Num: bpf.ExtType}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OTHERHOST, SkipTrue: 1}, bpf.RetConstant{},
	}
	return append(append(all, more...), bpf.RetConstant{Val: 1 << 16})
}

func byteIs(offset, value uint32) []bpf.Instruction {
	return []bpf.Instruction{bpf.LoadAbsolute{Off: offset, Size: 1}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipTrue: 1}, bpf.RetConstant{}}
}

var (
	arpFilter = requests(byteIs(ethHeader+7, 1)...)
	nsFilter  = requests(append(byteIs(ethHeader+6, protoICMP6), byteIs(ethHeader+ipv6Header, typeNS)...)...)
)

// listen opens a packet socket. It gets no frame before it has its filter.
func listen(dev *net.Interface, protocol uint16, filter []bpf.Instruction) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	raw, err := bpf.Assemble(filter)
	if err == nil {
		program := make([]unix.SockFilter, 0, len(raw))
		for _, r := range raw {
			program = append(program, unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K})
		}
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol>>8 | protocol<<8, Ifindex: dev.Index})
	}
	if err != nil {
		unix.Close(fd) //nolint:errcheck // it was never used
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	return os.NewFile(uintptr(fd), "packet:"+dev.Name), nil
}

// serve answers until the socket is closed, or the device goes down or away.
func (s *segment) serve(f *os.File, parse func([]byte) (question, bool), answer func(mac, question) []byte) {
	buf := make([]byte, 2048)
	for {
		n, err := f.Read(buf)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				s.fail()
			}
			return
		}
		q, ok := parse(buf[:n])
		if !ok || !s.holds(q.target) {
			continue
		}
		if _, err := f.Write(answer(s.mac, q)); err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) {
			s.fail()
			return
		}
	}
}

func (s *segment) fail() {
	s.mu.Lock()
	s.failed = true
	s.mu.Unlock()
	select {
	case s.broken <- struct{}{}:
	default:
	}
}

func (s *segment) usable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.failed
}

func (s *segment) holds(a netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[a]
}

// hold starts to answer for an address.
func (s *segment) hold(a netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[a] {
		return nil
	}
	if a.Is6() && !s.inGroup(a) {
		// Also tells switches that look at who listens to what (MLD snooping).
		if err := s.group(unix.IPV6_JOIN_GROUP, a); err != nil {
			return err
		}
	}
	s.held[a] = true
	return nil
}

// release stops answering for an address.
func (s *segment) release(a netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.held[a] {
		return nil
	}
	delete(s.held, a)
	if a.Is6() && !s.inGroup(a) {
		return s.group(unix.IPV6_LEAVE_GROUP, a)
	}
	return nil
}

// inGroup says whether another address has the same group.
func (s *segment) inGroup(a netip.Addr) bool {
	for o := range s.held {
		if o.Is6() && solicitedNode(o) == solicitedNode(a) {
			return true
		}
	}
	return false
}

func (s *segment) group(option int, a netip.Addr) error {
	if s.groups < 0 {
		return fmt.Errorf("address %s cannot be announced: this node's kernel has no IPv6", a)
	}
	err := unix.SetsockoptIPv6Mreq(s.groups, unix.IPPROTO_IPV6, option, &unix.IPv6Mreq{Multiaddr: solicitedNode(a), Interface: uint32(s.index)})
	if err != nil && !errors.Is(err, unix.EADDRINUSE) && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("address %s: its solicited-node group: %w", a, err)
	}
	return nil
}

// announce tells the segment where an address is.
func (s *segment) announce(a netip.Addr) error {
	if a.Is6() {
		_, err := s.ndp.Write(unsolicitedNA(s.mac, a))
		return err
	}
	var errs []error
	for _, frame := range gratuitousARP(s.mac, a) {
		_, err := s.arp.Write(frame)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// close stops answering; when it returns, no answer comes any more.
func (s *segment) close() {
	for _, f := range []*os.File{s.arp, s.ndp} {
		if f != nil {
			f.Close() //nolint:errcheck // what it could not write is of no use
		}
	}
	if s.groups >= 0 {
		unix.Close(s.groups) //nolint:errcheck // leaves the groups in any case
	}
	s.done.Wait()
}

// addresses are those that are held.
func (s *segment) addresses() []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.held))
}
