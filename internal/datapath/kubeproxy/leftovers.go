// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/netns"
)

// ipvsDevice carries the addresses of Services in kube-proxy's IPVS mode.
const ipvsDevice = "kube-ipvs0"

// Leftovers names what kube-proxy has left in a namespace that Remove does not remove, in
// words for people; none when there is nothing.
func Leftovers(ns *netns.NS) []string {
	var left []string
	_ = ns.Do(func() error {
		for _, f := range []struct {
			names         string
			domain, level int
			program       string
		}{
			{"/proc/thread-self/net/ip_tables_names", unix.AF_INET, unix.IPPROTO_IP, "iptables-legacy"},
			{"/proc/thread-self/net/ip6_tables_names", unix.AF_INET6, unix.IPPROTO_IPV6, "ip6tables-legacy"},
		} {
			tables, err := os.ReadFile(f.names)
			if err != nil {
				continue // no such kind of table
			}
			for _, table := range strings.Fields(string(tables)) {
				if legacyChains(f.domain, f.level, table) {
					left = append(left, "chains KUBE-* in table "+table+" of "+f.program)
				}
			}
		}
		if _, err := netlink.LinkByName(ipvsDevice); err == nil {
			left = append(left, "IPVS with device "+ipvsDevice)
		}
		return nil
	})
	return left
}

// Socket options by which the kernel shows a table of legacy iptables
// (linux/netfilter_ipv4/ip_tables.h; those of IPv6 have the same numbers).
const (
	getInfo    = 64
	getEntries = 65
)

// tableInfo is what getInfo takes and gives: struct ipt_getinfo.
type tableInfo struct {
	name      [32]byte
	hooks     uint32
	entry     [5]uint32
	underflow [5]uint32
	entries   uint32
	size      uint32
}

// entriesHead is what comes before the entries in what getEntries takes and gives, struct
// ipt_get_entries: the table's name (32 bytes), the entries' size (4), and 4 to align them.
const entriesHead = 40

// legacyChains says whether a table of legacy iptables has chains of kube-proxy. The
// kernel keeps a chain's name where the chain begins.
func legacyChains(domain, level int, table string) bool {
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd) //nolint:errcheck // it was only read
	var info tableInfo
	copy(info.name[:len(info.name)-1], table)
	if !socketOption(fd, level, getInfo, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unsafe.Sizeof(info))) {
		return false
	}
	raw := make([]byte, entriesHead+int(info.size))
	copy(raw[:31], table)
	binary.NativeEndian.PutUint32(raw[32:], info.size)
	if !socketOption(fd, level, getEntries, raw) {
		return false
	}
	return bytes.Contains(raw[entriesHead:], []byte("KUBE-SERVICES\x00")) || bytes.Contains(raw[entriesHead:], []byte("KUBE-PROXY-CANARY\x00"))
}

func socketOption(fd, level, option int, value []byte) bool {
	size := uint32(len(value))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&value[0])), uintptr(unsafe.Pointer(&size)), 0)
	return errno == 0
}
