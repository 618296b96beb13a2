// SPDX-License-Identifier: Apache-2.0

package drop

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/fairlead-io/fairlead/internal/agent/policy"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

func rules(id datapath.CauseID) (policy.Rule, bool) {
	return policy.Rule{Kind: "NetworkPolicy", Namespace: "shop", Name: fmt.Sprint("p", id), Place: policy.NoPlace, Direction: datapath.Ingress}, id != 0
}

func dropped(cause datapath.CauseID, port uint16) datapath.Drop {
	return datapath.Drop{
		Hook: "to_pod", Reason: "policy", Cause: cause, Direction: datapath.Ingress, Protocol: 6, Bytes: 60,
		Source: netip.MustParseAddrPort("10.0.0.1:40000"), Dest: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), port),
	}
}

func TestTheLastDropsAreToldInWordsTheLatestFirst(t *testing.T) {
	r := New(rules, slog.New(slog.DiscardHandler))
	for i := range kept + 10 {
		r.Record(dropped(7, uint16(1+i)))
	}
	last := r.Last()
	if len(last) != kept {
		t.Fatalf("%d are remembered, want %d", len(last), kept)
	}
	for i, d := range last {
		if want := fmt.Sprintf("10.0.0.2:%d", kept+10-i); d.Destination != want {
			t.Fatalf("drop %d went to %s, want %s", i, d.Destination, want)
		}
	}
	if last[0].Why != "NetworkPolicy shop/p7: no rule allows it" || last[0].Direction != "ingress" {
		t.Errorf("it is told as %+v", last[0])
	}
	r.Record(datapath.Drop{Hook: "from_pod", Reason: "source", Source: netip.MustParseAddrPort("10.0.0.9:0")})
	if d := r.Last()[0]; d.Why != "" || d.Direction != "" || d.Source != "10.0.0.9" {
		t.Errorf("what no policy dropped is told as %+v", d)
	}
}

func TestPoliciesBeyondTheBoundAreCountedAsOne(t *testing.T) {
	r := New(rules, slog.New(slog.DiscardHandler))
	for i := range maxSeries + 20 {
		r.Record(dropped(datapath.CauseID(1+i), 80))
	}
	if n := testutil.CollectAndCount(r); n != maxSeries+1 {
		t.Errorf("%d series, want %d", n, maxSeries+1)
	}
	if got := r.counts[series{"ingress", "", "", other}]; got != 20 {
		t.Errorf("%v are counted as others, want 20", got)
	}
	if problems, err := testutil.CollectAndLint(r); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if d := r.Last()[0].Name; !strings.HasPrefix(d, "p") {
		t.Errorf("the drop itself is told as of %q", d)
	}
}
