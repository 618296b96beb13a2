// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/link"
)

const (
	// cgroupPin stands for the cgroup in the names of pins.
	cgroupPin = "cgroup"
	// defaultCgroups is where cgroup file systems are mounted.
	defaultCgroups = "/sys/fs/cgroup"
)

// attachSockets attaches the programs of sockets to the node's cgroup, or detaches them
// where Services are left to kube-proxy: connections stay, since they are translated when
// they begin.
func (d *Datapath) attachSockets() error {
	if !d.opts.Services {
		names, err := bpf.SocketPrograms()
		if err != nil {
			return err
		}
		var errs []error
		for _, name := range names {
			errs = append(errs, link.Detach(d.pins.Link(cgroupPin, name)))
		}
		return errors.Join(errs...)
	}
	root := d.opts.CgroupRoot
	if root == "" {
		var err error
		if root, err = link.CgroupMount(defaultCgroups); err != nil {
			return fmt.Errorf("services: %w", err)
		}
	}
	spec, err := bpf.LoadSock()
	if err != nil {
		return err
	}
	var errs []error
	for name, prog := range d.programs.Sockets {
		errs = append(errs, link.AttachCgroup(d.pins.Link(cgroupPin, name), root, spec.Programs[name].AttachType, prog))
	}
	return errors.Join(errs...)
}
