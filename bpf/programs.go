// SPDX-License-Identifier: Apache-2.0

package bpf

import "github.com/cilium/ebpf"

// Program is one of the pod network's programs.
type Program struct {
	Hook Hook
	// Name is that of the program in its object, and of its hook.
	Name string
	// Load returns a fresh specification of the object.
	Load func() (*ebpf.CollectionSpec, error)
}

// Programs returns all programs, in the order of their hooks.
func Programs() []Program {
	all := []Program{
		{Hook: HookFromPod, Load: LoadFromPod},
		{Hook: HookToPod, Load: LoadToPod},
		{Hook: HookFromOverlay, Load: LoadFromOverlay},
		{Hook: HookToOverlay, Load: LoadToOverlay},
		{Hook: HookFromUplink, Load: LoadFromUplink},
		{Hook: HookToUplink, Load: LoadToUplink},
	}
	for i := range all {
		all[i].Name = HookName(all[i].Hook)
	}
	return all
}

// SocketProgram is one of the programs at the sockets of a cgroup. All are in the object
// that LoadSock returns.
type SocketProgram struct {
	// Name is that of the program in its object, and of its hook.
	Name   string
	Attach ebpf.AttachType
}

// SocketPrograms returns all programs at sockets, in the order in which they are attached:
// what hides a translation comes before what makes it.
func SocketPrograms() []SocketProgram {
	return []SocketProgram{
		{"getpeername4", ebpf.AttachCgroupInet4GetPeername},
		{"getpeername6", ebpf.AttachCgroupInet6GetPeername},
		{"recvmsg4", ebpf.AttachCGroupUDP4Recvmsg},
		{"recvmsg6", ebpf.AttachCGroupUDP6Recvmsg},
		{"sendmsg4", ebpf.AttachCGroupUDP4Sendmsg},
		{"sendmsg6", ebpf.AttachCGroupUDP6Sendmsg},
		{"connect4", ebpf.AttachCGroupInet4Connect},
		{"connect6", ebpf.AttachCGroupInet6Connect},
	}
}

// EndingPrograms returns the names of the programs that end sockets, in the object that
// LoadSockEnd returns: iterators over TCP and UDP sockets.
func EndingPrograms() []string { return []string{"end_tcp", "end_udp"} }
