// SPDX-License-Identifier: Apache-2.0

// Package sctp stands in for the module of its name in agnhost, the program of the specs' pods. That
// one asks the kernel for SCTP sockets, and the lab's kernel has none; this one sends and receives the
// protocol's packets itself, over raw sockets, so that specs about SCTP see real ones pass or not.
//
// It knows an association of two messages on a network that loses nothing: INIT is sent again until
// it is answered, DATA is not. It needs CAP_NET_RAW, as pods have it, and must serve nothing but specs.
package sctp
