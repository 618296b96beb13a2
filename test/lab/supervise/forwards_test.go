// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"context"
	"net"
	"strconv"
	"testing"

	"github.com/fairlead-io/fairlead/test/lab/plan"
)

// Clusters come and go while the supervisor runs, and a supervisor that comes back keeps their ports.
func TestWaysOpenCloseAndComeBack(t *testing.T) {
	p := plan.New(plan.Settings{Dir: t.TempDir(), Nodes: 1, Clusters: []string{"alpha", "bravo"}})
	alpha, bravo := p.Clusters[1], p.Clusters[2]
	listens := func(port int) bool {
		c, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	open := func(f *Forwards, c plan.Cluster) int {
		port, err := f.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		return port
	}

	ctx, cancel := context.WithCancel(context.Background())
	first := newForwards(ctx, p)
	a, b := open(first, alpha), open(first, bravo)
	if again := open(first, alpha); again != a || !listens(a) || !listens(b) {
		t.Errorf("alpha is at %d, then at %d; listening: %v %v", a, again, listens(a), listens(b))
	}
	if err := first.Close("bravo"); err != nil {
		t.Fatal(err)
	}
	if ports, err := LoadPorts(p.Dir); err != nil || len(ports) != 1 || ports["alpha"] != a {
		t.Errorf("the file says %v, %v; alpha is at %d and bravo has gone", ports, err, a)
	}
	cancel()
	for listens(a) || listens(b) { // Closing takes a moment.
	}

	ctx, cancel = context.WithCancel(context.Background())
	defer cancel()
	second := newForwards(ctx, p)
	if got := open(second, alpha); got != a {
		t.Errorf("a new supervisor has alpha at %d; kubeconfigs say %d", got, a)
	}
}
