// SPDX-License-Identifier: Apache-2.0

// Package model says in plain Go what the programs of the pod network do with a packet:
// which action they return, what the packet looks like then, what is counted and what is
// remembered. The differential test of package bpf holds the programs to it.
//
// It decides every packet anew. What is remembered of connections changes only one thing
// that can be seen: whether from_uplink takes a packet out of the tunnel itself. The table
// that it is remembered in is modelled row by row all the same.
//
// It must not load programs or look at the kernel.
package model
