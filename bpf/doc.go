// SPDX-License-Identifier: Apache-2.0

// Package bpf holds the eBPF programs as built objects, one for each hook, and the Go
// side of the types that they share with user space. The sources are below cni/, the
// headers below include/; include/layout.h is the only place where a map's key or value
// is written down. `go generate ./bpf` builds everything again (it needs clang-19).
//
// It must not load, attach or pin anything: that is internal/datapath.
package bpf
