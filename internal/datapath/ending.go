// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"

	"github.com/cilium/ebpf"
	bpflink "github.com/cilium/ebpf/link"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/netns"
)

// ending ends sockets that are connected to backends that are gone. It looks through the
// sockets of all pods, so it works by itself and takes what has gathered meanwhile at once.
type ending struct {
	log      *slog.Logger
	gone     *ebpf.Map
	programs []*ebpf.Program
	// namespaces returns the paths of the pods' network namespaces.
	namespaces func() []string
	host       *netns.NS

	mu      sync.Mutex
	waiting []Gone
	wake    chan struct{} // of one place
	stop    chan struct{}
	stopped chan struct{}
}

// startEnding returns nil where the kernel cannot end sockets.
func (d *Datapath) startEnding() *ending {
	programs, err := d.maps.LoadEnding()
	if err != nil {
		d.log.Warn("sockets stay connected to a Service's backend when it goes, until they find out (Linux 6.5 or newer ends them)", "error", err)
		return nil
	}
	e := &ending{
		log: d.log, gone: d.maps.Gone, programs: programs, namespaces: d.podNamespaces, host: d.ns,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go e.run()
	return e
}

// podNamespaces are the paths of the network namespaces of this node's pods.
func (d *Datapath) podNamespaces() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var paths []string
	for _, ep := range d.live {
		paths = append(paths, ep.Netns)
	}
	return paths
}

// end ends sockets some time soon.
func (e *ending) end(gone []Gone) {
	if e == nil || len(gone) == 0 {
		return
	}
	e.mu.Lock()
	e.waiting = append(e.waiting, gone...)
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// close ends what is waiting, and then the work. The caller must not hold the datapath.
func (e *ending) close() {
	if e == nil {
		return
	}
	close(e.stop)
	<-e.stopped
	for _, p := range e.programs {
		p.Close()
	}
}

func (e *ending) run() {
	defer close(e.stopped)
	for more := true; more; {
		select {
		case <-e.wake:
		case <-e.stop:
			more = false
		}
		for gone := e.next(); len(gone) > 0; gone = e.next() {
			if err := e.endAll(gone); err != nil {
				e.log.Warn("some sockets may stay connected to a Service's backend that is gone", "error", err)
			}
		}
	}
}

// next takes as many backends as fit in the map.
func (e *ending) next() []Gone {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(len(e.waiting), int(e.gone.MaxEntries()))
	gone := e.waiting[:n]
	e.waiting = e.waiting[n:]
	return gone
}

func (e *ending) endAll(gone []Gone) error {
	var errs []error
	for _, g := range gone {
		errs = append(errs, e.gone.Put(goneKey(g), uint32(1)))
	}
	errs = append(errs, e.endIn(e.host))
	for _, path := range e.namespaces() {
		ns, err := netns.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the pod is gone too
		}
		if err == nil {
			err = errors.Join(e.endIn(ns), ns.Close())
		}
		errs = append(errs, err)
	}
	for _, g := range gone {
		errs = append(errs, ignoreMissing(e.gone.Delete(goneKey(g))))
	}
	return errors.Join(errs...)
}

func goneKey(g Gone) bpf.GoneKey {
	return bpf.GoneKey{Address: bpf.AddressOf(g.Address), Port: bpf.Port(g.Port), Protocol: uint8(g.Protocol)}
}

// endIn runs the programs over the sockets of a network namespace.
func (e *ending) endIn(ns *netns.NS) error {
	return ns.Do(func() error {
		for _, p := range e.programs {
			if err := iterate(p); err != nil {
				return fmt.Errorf("end sockets: %w", err)
			}
		}
		return nil
	})
}

func iterate(p *ebpf.Program) error {
	it, err := bpflink.AttachIter(bpflink.IterOptions{Program: p})
	if err != nil {
		return err
	}
	defer it.Close()
	rows, err := it.Open()
	if err != nil {
		return err
	}
	defer rows.Close()
	_, err = io.Copy(io.Discard, rows)
	return err
}
