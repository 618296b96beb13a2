// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

func whole() Config {
	return Config{
		NodeName: "n1", ClusterName: "alpha", Namespace: "fairlead-system", StateDir: "/state", Socket: "/socket", TrustFile: "/trust", TokenFile: "/token",
		CNIBinDir: "/bin", CNIConfDir: "/conf", HealthAddress: "127.0.0.1:1", Routing: datapath.RoutingTunnel, FlowEntries: 131072,
	}
}

func TestAConfigurationThatIsWrongNamesTheFlag(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string // "" for none
	}{
		{"whole", func(*Config) {}, ""},
		{"native", func(c *Config) { c.Routing = datapath.RoutingNative }, ""},
		{"the flow table's bounds", func(c *Config) { c.FlowEntries = 1 << 22 }, ""},
		{"policies without a wait", func(c *Config) { c.Policies = true }, "--policy-wait is 0s, want more than 0"},
		{"policies with too long a wait", func(c *Config) { c.Policies, c.PolicyWait = true, time.Minute }, "--policy-wait is 1m0s, want more than 0 and at most 10s"},
		{"a wait before it begins", func(c *Config) { c.PeerWait = -1 }, "--peer-wait is -1ns"},
		{"no name", func(c *Config) { c.NodeName = "" }, "--node-name (or NODE_NAME) is empty"},
		{"an MTU too small", func(c *Config) { c.MTU = 1279 }, "--mtu is 1279"},
		{"a mode that is none", func(c *Config) { c.Routing = "native" }, `--routing-mode is "native", want Tunnel or Native`},
		{"a flow table between two powers of two", func(c *Config) { c.FlowEntries = 100000 }, "--flow-entries is 100000, want a power of two from 1024 to 4194304"},
		{"a flow table too small", func(c *Config) { c.FlowEntries = 1 << 9 }, "--flow-entries is 512"},
		{"a flow table too large", func(c *Config) { c.FlowEntries = 1 << 23 }, "--flow-entries is 8388608"},
		{"an exception that is an address", func(c *Config) { c.MasqueradeExceptions = []string{"10.0.0.0/8", "192.0.2.1"} }, `--masquerade-exceptions has "192.0.2.1"`},
		{"an exception that is IPv4 in IPv6", func(c *Config) { c.MasqueradeExceptions = []string{"::ffff:192.0.2.0/120"} }, "--masquerade-exceptions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := whole()
			c.change(&cfg)
			err := cfg.Validate()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestTheDatapathIsToldWhatTheFlagsSay(t *testing.T) {
	cfg := whole()
	cfg.Routing, cfg.FlowEntries, cfg.Masquerade = datapath.RoutingNative, 16384, true
	cfg.MasqueradeExceptions = []string{"192.0.2.7/24", "2001:db8::1/32"}
	o, err := cfg.options(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	if o.Routing != datapath.RoutingNative || o.FlowEntries != 16384 || !o.Masquerade || !slices.Equal(o.MasqueradeExceptions, want) {
		t.Errorf("got %+v", o)
	}
}
