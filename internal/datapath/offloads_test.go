// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"net/netip"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestOffloads: bulk traffic crosses the underlay in packets that are yet to be cut up, and
// where the uplink can do nothing, in whole and right ones of its MTU.
func TestOffloads(t *testing.T) {
	for _, c := range underlays {
		t.Run(c.name, func(t *testing.T) {
			w := newShapedWorld(t, 2, c.shape)
			one, two := w.nodes[0], w.nodes[1]
			a, far := one.addPod(), two.addPod()
			for _, f := range families {
				at := serveTCP(t, far, f)
				udp := netip.AddrPortFrom(far.ip(f), 7402)
				udpServer(t, far.space, udp)
				newEcho(t, a, far, f)
				for _, send := range []struct {
					name string
					send func() error
				}{
					{"TCP", func() error { _, err := tcpSend(a.space, at, bulk); return err }},
					{"UDP", func() error { return udpSegments(a.space, udp) }},
				} {
					size, err := w.meanSize(t, "port1", send.send)
					if err != nil || size <= uplinkMTU+14 {
						t.Errorf("%s over %s: packets of %d bytes on average (%v), want larger ones than the MTU", send.name, f, size, err)
					}
				}
			}
			for _, n := range w.nodes {
				n.withoutOffloads(t, "eth0")
			}
			for _, f := range families {
				t.Run(f+"/without offloads", func(t *testing.T) {
					size, err := w.meanSize(t, "port1", func() error {
						_, err := tcpSend(a.space, netip.AddrPortFrom(far.ip(f), 7400), bulk)
						return err
					})
					if err != nil || size > uplinkMTU+14 {
						t.Errorf("packets of %d bytes on average (%v), want no larger ones than the MTU", size, err)
					}
					checkPath(t, a.space, far.space, far.ip(f), a.ip(f))
				})
			}
		})
	}
}

// meanSize returns how large the frames are on average that a port gets while something is
// sent.
func (w *world) meanSize(t *testing.T, port string, send func() error) (uint64, error) {
	t.Helper()
	before := deviceOf(t, w.outside, port).Attrs().Statistics
	err := send()
	after := deviceOf(t, w.outside, port).Attrs().Statistics
	if after.RxPackets == before.RxPackets {
		t.Fatal("nothing was sent")
	}
	return (after.RxBytes - before.RxBytes) / (after.RxPackets - before.RxPackets), err
}

// withoutOffloads makes a device compute no checksums and cut up nothing.
func (s space) withoutOffloads(t *testing.T, device string) {
	t.Helper()
	type value struct {
		command uint32
		_       uint32 // its data: 0 switches off
	}
	type request struct {
		name  [unix.IFNAMSIZ]byte
		value *value
		_     [16]byte
	}
	must(t, s.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, command := range []uint32{unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO, unix.ETHTOOL_STXCSUM} {
			v := &value{command: command}
			r := &request{value: v}
			copy(r.name[:], device)
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(r)))
			runtime.KeepAlive(v)
			if errno != 0 {
				return errno
			}
		}
		return nil
	}))
}
