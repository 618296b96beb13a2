// SPDX-License-Identifier: Apache-2.0

// Package link makes the devices of the datapath (the tunnel, the veths of pods) and
// attaches programs to them: by tcx links where the kernel has them, else by filters of
// clsact qdiscs, of which it leaves those of others alone.
//
// It must not decide addresses, names or which program goes where, and knows no maps.
// Functions work in the network namespace of the calling thread, or of the handle that
// they are given.
package link
