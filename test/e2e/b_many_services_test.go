// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// servicesEnv is how many Services TestBManyServices makes, each with ten endpoints. `make
// scale-services` sets 10,000.
const servicesEnv = "FAIRLEAD_E2E_SERVICES"

// heldServices asks a node's agent how many Services it has in force.
func heldServices(ctx context.Context, node string) (int, error) {
	out, err := lab.Exec(ctx, node, "sh", "-c", "curl -sS -f -m 5 http://127.0.0.1:9442/metrics | sed -n 's/^fairlead_agent_services //p'")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
	return int(n), err
}

// TestBManyServices: with many Services, agents that are killed and upgraded let no new
// connection fail.
func TestBManyServices(t *testing.T) {
	const endpoints = 10
	services := 1000
	if n, err := strconv.Atoi(os.Getenv(servicesEnv)); err == nil {
		services = n
	}
	alpha := lab.Clusters()[0]
	ends := deployLoad(t, alpha)
	if err := lab.DeployWeb(within(t, time.Minute), alpha, 4); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := lab.RemoveServices(ctx, alpha); err != nil {
			t.Error(err)
		}
	})
	began := time.Now()
	if err := lab.CreateServices(within(t, 5*time.Minute), alpha, services, endpoints); err != nil {
		t.Fatal(err)
	}
	nodes := nodesOf(t, alpha)
	allHeld := func(what string) {
		t.Helper()
		for _, n := range nodes {
			eventually(t, 2*time.Minute, fmt.Sprintf("%s: %s has all Services", what, n), func(ctx context.Context) error {
				held, err := heldServices(ctx, n)
				if err == nil && held < services {
					err = fmt.Errorf("%d of %d", held, services)
				}
				return err
			})
		}
	}
	allHeld("created")
	t.Logf("%d Services with %d endpoints are in force %v after the first was created", services, services*endpoints, time.Since(began).Round(time.Second))
	rolledOut(t, alpha)
	if err := lab.LoadVersion(within(t, 2*time.Minute), next); err != nil {
		t.Fatal(err)
	}
	restored(t, func(ctx context.Context) error { return lab.InstallOperatorVersion(ctx, present) })

	loads := startRequests(t, alpha, webClients(t, alpha, ends), 1000, "new")
	for range 2 {
		for _, n := range nodes {
			kill(t, n, "^/fairlead-agent --")
		}
		allHeld("killed")
	}
	bringTo(t, next)
	allHeld("upgraded")
	for name, r := range stopRequests(t, loads) {
		if r.Failed > 0 || r.Sent == 0 {
			t.Errorf("%s: %d of %d failed: %v", name, r.Failed, r.Sent, r.Errors)
		}
	}
}
