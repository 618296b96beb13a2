// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/deferred"
	"github.com/fairlead-io/fairlead/internal/datapath/hostfilter"
	"github.com/fairlead-io/fairlead/internal/datapath/link"
	"github.com/fairlead-io/fairlead/internal/datapath/load"
	"github.com/fairlead-io/fairlead/internal/datapath/masquerade"
	"github.com/fairlead-io/fairlead/internal/datapath/netns"
	"github.com/fairlead-io/fairlead/internal/datapath/route"
	"github.com/fairlead-io/fairlead/internal/datapath/sysctl"
)

// Cleanup removes everything of Fairlead's from this node's network: pods lose theirs.
// It needs no Datapath, goes on after an error, and can be repeated. Host-wide settings
// get the values back that they had before the first Open.
func Cleanup(ctx context.Context, opts Options) error {
	opts = opts.withDefaults()
	if err := ctx.Err(); err != nil {
		return err
	}
	ns, err := netns.Current()
	if err != nil {
		return err
	}
	defer ns.Close()
	h, err := link.HandleAt(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	return ns.Do(func() error {
		return errors.Join(
			removeDevices(h),
			link.DetachAll(), // from devices that are not ours
			removeRoutes(h),
			masquerade.Remove(ns.FD()),
			deferred.Remove(ns.FD()),
			hostfilter.Remove(ns.FD()),
			removePins(opts.BPFFS),
		)
	})
}

func removeDevices(h *netlink.Handle) error {
	devices, err := link.List(h)
	if err != nil {
		return err
	}
	var errs []error
	for name, dev := range devices {
		ours := name == TunnelDevice && dev.Type == "vxlan" || isHostIf(name) && dev.Type == "veth"
		if !ours {
			continue
		}
		l, err := h.LinkByIndex(dev.Index)
		if err != nil {
			continue // its pod went at this moment
		}
		if err := h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("device %s: remove: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func removeRoutes(h *netlink.Handle) error {
	kernel := route.Kernel{Handle: h}
	rows, err := kernel.List()
	if err != nil {
		return fmt.Errorf("routes: %w", err)
	}
	var errs []error
	for dst, r := range rows {
		errs = append(errs, kernel.Delete(dst, r))
	}
	return errors.Join(errs...)
}

// removePins restores the settings that are remembered there, then removes every pin of
// every version. Programs that are attached by a pin are detached by that.
func removePins(bpffs string) error {
	mounted, err := isBPFFS(bpffs)
	if err != nil || !mounted {
		return err
	}
	pins := load.PinsBelow(bpffs, bpf.LayoutVersion)
	if _, err := os.Stat(pins.Root()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := detachSockets(pins); err != nil {
		return err
	}
	var restored error
	if _, err := os.Stat(pins.Host()); err == nil {
		restored = restoreSysctls(pins)
	}
	if restored != nil {
		return restored // the pins are the only memory; try again
	}
	if err := os.RemoveAll(pins.Root()); err != nil {
		return fmt.Errorf("pins: %w", err)
	}
	return nil
}

func restoreSysctls(pins load.Pins) error {
	memory, err := sysctl.OpenMemory(pins.Host())
	if err != nil {
		return err
	}
	defer memory.Close()
	return memory.Restore()
}
