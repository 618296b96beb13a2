// SPDX-License-Identifier: Apache-2.0

package datapath

// WithLayout returns the options of an agent whose maps have another layout.
func WithLayout(o Options, layout int) Options {
	o.layout = layout
	return o
}

// CgroupRoot is the cgroup that programs at sockets are attached to.
var CgroupRoot = cgroupRoot
