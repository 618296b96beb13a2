// SPDX-License-Identifier: Apache-2.0

package interest_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/internal/model/policy"
)

// size of the fleet that BenchmarkFleet simulates.
const (
	fleetNodes    = 1000
	fleetPods     = 50000
	fleetPolicies = 5000
)

// BenchmarkFleet is a pod whose label changes until the last of 1,000 agents that it
// concerns has acknowledged, over real streams: 50,000 pods, 5,000 policies.
func BenchmarkFleet(b *testing.B) {
	l := newLab(b)
	start := time.Now()
	l.change(func(x *policy.Index) {
		for i := range fleetPods {
			x.SetPod(fleetPod(i, i))
		}
		for i := range fleetPolicies {
			x.SetNetworkPolicy(allow(fmt.Sprint("ns", i/5), fmt.Sprint("policy-", i), fmt.Sprint("app", i%10), fmt.Sprint("app", (i+1)%10)))
		}
	})
	if err := l.feed.Open(b.Context()); err != nil {
		b.Fatal(err)
	}
	built := time.Since(start)
	runtime.GC()
	empty := rss(b)
	start = time.Now()
	var agents []*agent
	for i := range fleetNodes {
		agents = append(agents, l.agent(fmt.Sprint("node-", i)))
	}
	eventually(b, "every agent has what concerns it", func() bool {
		return !slices.ContainsFunc(agents, func(a *agent) bool { return a.acks.Load() == 0 })
	})
	b.Logf("built in %v, %d MiB; %d agents served in %v", built, empty, fleetNodes, time.Since(start))
	sent := func() (bytes, acks int64) {
		for _, a := range agents {
			bytes += a.bytes.Load()
			acks += a.acks.Load()
		}
		return bytes, acks
	}
	bytes, told := sent()
	b.Logf("%d KiB for each agent at first", bytes/fleetNodes>>10)
	var took []time.Duration
	i := 0
	for b.Loop() {
		p, name := fleetPod(i*7919%fleetPods, i), fmt.Sprint("probe-", i%7)
		p.Labels["app"] = fmt.Sprint("app", i%10)
		start := time.Now()
		l.change(func(x *policy.Index) { x.SetPod(p) })
		// A policy of the same namespace that is set together with it tells when all have it.
		in := <-l.set(allow(p.Namespace, name, fmt.Sprint("app", i%10), fmt.Sprint("app", (i+3)%10)), int64(i))
		if in.Waiting > 0 {
			b.Fatalf("%+v", in)
		}
		took = append(took, time.Since(start))
		i++
	}
	after, acks := sent()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(after-bytes)/float64(i), "bytes/op")
	b.ReportMetric(float64(acks-told)/float64(i), "nodes/op")
	// Without interest each change goes to every node.
	b.ReportMetric(float64(after-bytes)/float64(acks-told)*fleetNodes, "bytes-to-all/op")
	b.ReportMetric(float64(rss(b)), "MiB-with-agents")
}

func fleetPod(i, app int) policy.Pod {
	return pod(i, fmt.Sprint("node-", i%fleetNodes), fmt.Sprint("app", app%10))
}

// rss is the process's memory in MiB.
func rss(b *testing.B) int {
	b.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kib >> 10
		}
	}
	return 0
}
