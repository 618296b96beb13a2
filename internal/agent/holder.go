// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/fairlead-io/fairlead/internal/agent/node"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// datapathHolder opens the datapath when the node's state is there, and lets
// metrics read it from then on.
type datapathHolder struct {
	mu     sync.Mutex
	dp     *datapath.Datapath
	opened chan struct{} // closed when dp is there
}

func newDatapathHolder() *datapathHolder { return &datapathHolder{opened: make(chan struct{})} }

func (h *datapathHolder) opener(opts datapath.Options) node.Opener {
	return func(ctx context.Context, n datapath.Node) (node.Datapath, error) {
		dp, err := datapath.Open(ctx, opts, n)
		if err != nil {
			return nil, err
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.dp == nil {
			close(h.opened)
		}
		h.dp = dp
		return dp, nil
	}
}

// counts is what the datapath counted.
type counts struct {
	packets []datapath.Counter
	events  []datapath.FlowEvent
	rows    map[string]int
}

func (h *datapathHolder) counts() (counts, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dp == nil {
		return counts{}, nil
	}
	var c counts
	var errs [3]error
	c.packets, errs[0] = h.dp.Metrics()
	c.events, errs[1] = h.dp.FlowEvents()
	c.rows, errs[2] = h.dp.FlowRows()
	return c, errors.Join(errs[:]...)
}

// serviceUsage is how full the maps of Services are.
func (h *datapathHolder) serviceUsage() []datapath.Usage {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dp == nil {
		return nil
	}
	return h.dp.ServiceUsage()
}

func (h *datapathHolder) close(log *slog.Logger) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dp == nil {
		return
	}
	if err := h.dp.Close(); err != nil && !errors.Is(err, context.Canceled) {
		log.Warn("the datapath's handles could not be closed", "error", err)
	}
}

// policyUsage is how full the maps of network policies are.
func (h *datapathHolder) policyUsage() []datapath.Usage {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dp == nil {
		return nil
	}
	return h.dp.PolicyUsage()
}

// readDrops hands over what programs drop until the context ends. Without it nobody is told
// of drops, and they are dropped all the same.
func (h *datapathHolder) readDrops(ctx context.Context, each func(datapath.Drop), log *slog.Logger) error {
	select {
	case <-ctx.Done():
		return nil
	case <-h.opened:
	}
	for ctx.Err() == nil {
		if err := h.dp.Drops(ctx, each); err != nil && ctx.Err() == nil {
			log.Warn("what is dropped cannot be read; trying again", "error", err)
		}
		sleep(ctx, restartDelay)
	}
	return nil
}
