// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/bpf"
)

// TestAPodChoosesNoVLAN sends a frame with a VLAN's tag from a pod to one of another node.
// The kernel keeps the tag apart from the packet, so that it would leave by the uplink on
// the tunnel packet, into a network which the pod does not belong to.
func TestAPodChoosesNoVLAN(t *testing.T) {
	s := newSpace(t)
	n := newNode(t, s, shapes[0])
	must(t, n.reset())
	tagged := udp(t, pod4, farPods[0], 1, 2)
	tagged = append(tagged[:12:12], append([]byte{0x81, 0, 0, 5}, tagged[12:]...)...)
	plain := udp(t, pod4, farPods[0], 1, 3)
	s.do(func() {
		l, err := link.AttachTCX(link.TCXOptions{Program: n.k.programs[bpf.HookFromPod], Interface: int(s.pods[0].index), Attach: ebpf.AttachTCXIngress})
		if err != nil {
			t.Errorf("from_pod at a pod's device: %v", err)
			return
		}
		defer l.Close()
		wire, pod := openWire(t, "uplink-end"), openWire(t, "pod0-end")
		if wire < 0 || pod < 0 {
			return
		}
		defer unix.Close(wire)
		defer unix.Close(pod)
		for _, frame := range [][]byte{tagged, plain} {
			if _, err := unix.Write(pod, frame); err != nil {
				t.Errorf("pod's frame: %v", err)
				return
			}
		}
		// What was sent first comes first, so nothing comes after the frame without a tag.
		for {
			frame, vlan, err := receive(wire)
			if err != nil {
				t.Errorf("the packet without a tag did not come: %v", err)
				return
			}
			switch {
			case bytes.HasSuffix(frame, tagged[16:]):
				t.Errorf("a pod's tagged packet left by the uplink; with a tag: %v", vlan)
			case bytes.HasSuffix(frame, plain[14:]):
				return
			}
		}
	})
	if c := n.k.counted(bpf.HookFromPod); c["unknown_protocol"] != 1 || c["tunnel"] != 1 {
		t.Errorf("from_pod counted %v, want one unknown_protocol and one tunnel", c)
	}
}

// openWire opens a socket for all frames of a device, less than 0 when it cannot.
func openWire(t *testing.T, name string) int {
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00
	device, err := net.InterfaceByName(name)
	if err != nil {
		t.Error(err)
		return -1
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		t.Error(err)
		return -1
	}
	for _, err := range []error{
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: device.Index}),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}),
	} {
		if err != nil {
			t.Errorf("socket at %s: %v", name, err)
		}
	}
	return fd
}

// receive returns a frame, and whether it came with a VLAN's tag.
func receive(fd int) (frame []byte, vlan bool, err error) {
	frame, control := make([]byte, 2048), make([]byte, 256)
	size, controlSize, _, _, err := unix.Recvmsg(fd, frame, control, 0)
	if err != nil {
		return nil, false, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlSize])
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA {
			vlan = binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0
		}
	}
	return frame[:size], vlan, err
}
