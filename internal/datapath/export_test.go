// SPDX-License-Identifier: Apache-2.0

package datapath

// WithLayout returns the options of an agent whose maps have another layout.
func WithLayout(o Options, layout int) Options {
	o.layout = layout
	return o
}

// CgroupRoot is the cgroup that programs at sockets are attached to.
var CgroupRoot = cgroupRoot

// UpdateServicesCounted updates Services, and counts the rows that are written.
func (d *Datapath) UpdateServicesCounted(u ServiceUpdate) (rows int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err = d.services.update(u, countedMaps{kernelServiceMaps{d.maps}, &rows})
	return rows, err
}

// countedMaps counts the rows on their way to the kernel.
type countedMaps struct {
	kernelServiceMaps
	rows *int
}

func (c countedMaps) write(r *serviceRows) error {
	*c.rows += len(r.backends) + len(r.slots.slots) + len(r.pools) + len(r.ranges) + len(r.frontends) +
		len(r.goneFrontends) + len(r.goneRanges) + len(r.gonePools) + len(r.goneBackends)
	return c.kernelServiceMaps.write(r)
}
