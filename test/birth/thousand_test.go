// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/capi"
)

// TestThousandBirths has two replicas of the operator asked for the addresses of a thousand
// Clusters at once, in turn. Then more come while one of the replicas is killed again and again.
func TestThousandBirths(t *testing.T) {
	h := begin(t)
	r := &rows{t: t, n: howMany("FAIRLEAD_BIRTHS", 1000, 200)}
	config, err := capi.Source{Checkout: checkout}.Config(t.Context(), capi.Core)
	h.must(err)
	h.must(capi.Install(t.Context(), h.client, capi.Installation{Name: capi.Core.Name, Config: config}))
	h.must(h.client.Create(t.Context(), pool()))
	first, second := h.operator("first"), h.operator("second")
	h.announce(first)
	first.start()
	second.start()
	c := h.caller(first.address, second.address)
	ctx, cancel := context.WithTimeout(t.Context(), h.deadline)
	defer cancel()

	before, start := h.poolWrites(), time.Now()
	took, err := c.bear(ctx, h.unlimited(), unborn(0, r.n))
	h.must(err)
	wall, writes := time.Since(start), h.poolWrites()
	h.disjoint()
	r.times("birth", took)
	r.add("births", "wall", "s", wall.Seconds())
	r.add("births", "calls", "", float64(c.calls.Load()))
	r.add("births", "calls that failed", "", float64(c.failures.Load()))
	r.add("pool", "writes", "", float64(writes.done-before.done))
	r.add("pool", "writes refused", "", float64(writes.refused-before.refused))
	raw, err := json.Marshal(h.holdings())
	h.must(err)
	r.add("pool", "bytes a cluster", "B", float64(len(raw))/float64(r.n))
	for _, o := range []*operator{first, second} {
		mib, err := o.PeakMiB()
		h.must(err)
		r.add("memory", o.name+" RSS peak", "MiB", mib)
	}

	born := make(chan error, 1)
	go func() {
		_, err := c.bear(ctx, h.client, unborn(r.n, r.n+r.n/4))
		born <- err
	}()
	killed := 0
	for through := false; !through; {
		asked := c.calls.Load()
		h.eventually("the replica is in the middle of it, or all are born", func() string {
			select {
			case err := <-born:
				h.must(err)
				through = true
			default:
			}
			if through {
				return ""
			}
			if _, err := c.discover(ctx, second.address); err != nil {
				return err.Error()
			}
			if n := c.calls.Load() - asked; n <= callers/5 {
				return fmt.Sprint(n, " calls since it was started")
			}
			return ""
		})
		if !through {
			second.kill()
			second.start()
			killed++
		}
	}
	if killed == 0 {
		t.Error("all were born before a replica was killed")
	}
	h.disjoint()
	r.add("kills", "of a replica", "", float64(killed))
	r.write()
}

// unborn are Clusters that name no addresses and are not created yet.
func unborn(from, to int) []*clusterv1.Cluster {
	var out []*clusterv1.Cluster
	for i := from; i < to; i++ {
		out = append(out, &clusterv1.Cluster{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("c%04d", i)},
			Spec:       clusterv1.ClusterSpec{Topology: clusterv1.Topology{ClassRef: clusterv1.ClusterClassRef{Name: "none"}, Version: "v1.35.0"}},
		})
	}
	return out
}

// unlimited is a client that waits for the API server only.
func (h *hub) unlimited() client.Client {
	h.t.Helper()
	cfg := rest.CopyConfig(h.server.Config)
	cfg.QPS, cfg.RateLimiter = -1, nil
	c, err := client.New(cfg, client.Options{Scheme: h.client.Scheme()})
	h.must(err)
	return c
}

// poolWrites counts the writes of FleetPools' statuses that the API server has had.
type poolWrites struct{ done, refused int }

func (h *hub) poolWrites() poolWrites {
	h.t.Helper()
	c, err := rest.HTTPClientFor(h.server.Config)
	h.must(err)
	address, err := url.JoinPath(h.server.Config.Host, "metrics")
	h.must(err)
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, address, nil)
	h.must(err)
	resp, err := c.Do(req)
	h.must(err)
	raw, err := io.ReadAll(resp.Body)
	h.must(err)
	h.must(resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		h.t.Fatalf("the API server's metrics: %s", resp.Status)
	}
	var out poolWrites
	for line := range strings.Lines(string(raw)) {
		labels, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if !ok || !strings.HasPrefix(labels, "apiserver_request_total{") || !strings.Contains(labels, `resource="fleetpools"`) || !strings.Contains(labels, `subresource="status"`) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		h.must(err)
		if strings.Contains(labels, `code="200"`) {
			out.done += int(n)
		} else {
			out.refused += int(n)
		}
	}
	return out
}
