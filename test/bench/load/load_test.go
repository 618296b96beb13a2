// SPDX-License-Identifier: Apache-2.0

package load_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/internal/datapath/netns"
	"github.com/fairlead-io/fairlead/test/bench/load"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == load.Argument {
		os.Exit(load.Main(os.Args[2:]))
	}
	if os.Geteuid() != 0 {
		println("test/bench/load enters network namespaces: run it as root (make test-bpf)")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func here(t *testing.T) *netns.NS {
	t.Helper()
	ns, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// TestOverLoopback runs each case for a moment, between two processes.
func TestOverLoopback(t *testing.T) {
	ns := here(t)
	want := map[load.Case]map[load.Metric][2]float64{ // what can be true of any machine
		load.TCPRR:     {load.P50: {0.5, 2000}, load.P99: {0.5, 50000}},
		load.UDPRR:     {load.P50: {0.5, 2000}, load.P99: {0.5, 50000}},
		load.TCPCRR:    {load.Rate: {50, 1e6}, load.P50: {0.5, 20000}, load.P99: {0.5, 200000}},
		load.TCPStream: {load.Throughput: {0.01, 1000}, load.CPU: {0, 5000}},
		load.TCPEight:  {load.Throughput: {0.01, 1000}, load.CPU: {0, 5000}},
		load.UDPPPS:    {load.Rate: {1000, 1e8}, load.Loss: {0, 99}},
	}
	for _, server := range []string{"127.0.0.1", "::1"} {
		for _, c := range load.Cases {
			t.Run(string(c)+"/"+server, func(t *testing.T) {
				spec := load.Spec{Case: c, Server: netip.MustParseAddr(server), Duration: 100 * time.Millisecond}
				got, err := load.Run(t.Context(), ns, ns, spec)
				if err != nil {
					t.Fatal(err)
				}
				for metric, bounds := range want[c] {
					if v, ok := got[metric]; !ok || v < bounds[0] || v > bounds[1] {
						t.Errorf("%s is %v (measured: %v), want %v to %v", metric, v, ok, bounds[0], bounds[1])
					}
				}
				if len(got) != len(want[c]) {
					t.Errorf("got %v, want %d metrics", got, len(want[c]))
				}
				if got[load.P99] < got[load.P50] {
					t.Errorf("p99 %v is below p50 %v", got[load.P99], got[load.P50])
				}
			})
		}
	}
}

// TestServerOfSeveralPorts: the client reaches each of them by the address that it is told.
func TestServerOfSeveralPorts(t *testing.T) {
	ns := here(t)
	ports := []uint16{18451, 18452, 18453}
	for _, p := range ports {
		for _, c := range []load.Case{load.TCPRR, load.TCPCRR} {
			spec := load.Spec{
				Case: c, Server: netip.IPv4Unspecified(), Duration: 20 * time.Millisecond,
				Ports: ports, Via: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p),
			}
			if got, err := load.Run(t.Context(), ns, ns, spec); err != nil || got[load.P50] <= 0 {
				t.Errorf("%s to port %d: %v, %v", c, p, got, err)
			}
		}
	}
}

func TestErrorsNameTheSideAndTheCause(t *testing.T) {
	ns := here(t)
	for name, tc := range map[string]struct {
		spec load.Spec
		want string
	}{
		"an address that is not here": {load.Spec{Case: load.TCPRR, Server: netip.MustParseAddr("192.0.2.1"), Duration: time.Second}, "server: bind 192.0.2.1"},
		"a case nobody knows":         {load.Spec{Case: "sctp", Server: netip.MustParseAddr("127.0.0.1"), Duration: time.Second}, `case "sctp"`},
		"no address":                  {load.Spec{Case: load.TCPRR, Duration: time.Second}, "no address"},
		"no duration":                 {load.Spec{Case: load.TCPRR, Server: netip.MustParseAddr("127.0.0.1")}, "duration"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load.Run(t.Context(), ns, ns, tc.spec)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}
