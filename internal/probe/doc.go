// SPDX-License-Identifier: Apache-2.0

// Package probe owns what the probes of a cluster's nodes report, and how: one line of JSON
// a period on standard output, which the operator reads as the pod's log.
//
// It must not send a packet or judge one: sending is package prober's, judging
// internal/gate's.
package probe

// Name is that of the probes' Service, NetworkPolicy, DaemonSet and ServiceAccount.
const Name = "fairlead-probe"

// Ports of a probe's pod.
const (
	// EchoPort answers datagrams with themselves.
	EchoPort = 9450
	// ServicePort answers one byte over TCP with itself.
	ServicePort = 9451
	// ForbiddenPort answers datagrams, too, but nothing may come to it: a NetworkPolicy
	// opens the others alone.
	ForbiddenPort = 9452
)
