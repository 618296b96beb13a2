// SPDX-License-Identifier: Apache-2.0

// Package load makes traffic between two network namespaces and measures it.
//
// Client and server are processes of their own. Their loops are blocking system calls on
// one thread, without Go's network poller: what is measured is the kernel's path, and a
// round trip of two processes that share a CPU costs what the whole path costs. For the
// same reason the request-response loops bypass the scheduler (RawSyscall); nothing else
// runs in those processes.
//
// TCP uses Cubic everywhere, whatever the machine's default, since congestion control
// changes throughput by more than the paths differ.
package load
