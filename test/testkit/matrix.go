// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-io/fairlead/test/matrix"
)

// settle is how long a path may fail before it counts: endpoints of a Service
// become known to kube-proxy a moment after they are ready.
const settle = 20 * time.Second

// Matrix deploys the probes on a cluster and has each reach all others.
func (l *Lab) Matrix(ctx context.Context, cluster string, progress func(string)) ([]matrix.Cell, error) {
	cfg, err := l.REST(cluster)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	if err := matrix.Deploy(ctx, client); err != nil {
		return nil, fmt.Errorf("%s: %w", cluster, err)
	}
	last := ""
	plan, err := l.Plan().Cluster(cluster)
	if err != nil {
		return nil, err
	}
	err = matrix.Wait(ctx, client, len(plan.Nodes), func(ready, wanted int) {
		if line := fmt.Sprintf("%s: %d of %d probes are ready", cluster, ready, wanted); line != last {
			last = line
			progress(line)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cluster, err)
	}
	o := l.plan.Outside
	return matrix.Run(ctx, cfg, matrix.Outside{Addresses: []netip.Addr{o.IPv4, o.IPv6}, HTTPPort: o.HTTPPort, UDPPort: o.UDPPort}, settle)
}
