// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-io/fairlead/internal/agent/endpoint"
	"github.com/fairlead-io/fairlead/internal/agent/node"
	"github.com/fairlead-io/fairlead/internal/agent/pathmtu"
	"github.com/fairlead-io/fairlead/internal/agent/policy/view"
	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/cniapi"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

// rows stands in for the datapath: it takes everything.
type rows struct{ endpoint.Datapath }

func (rows) Reconfigure(context.Context, datapath.Node) error               { return nil }
func (rows) SyncPeers(context.Context, []datapath.Peer) error               { return nil }
func (rows) UpdateServices(context.Context, datapath.ServiceUpdate) error   { return nil }
func (rows) UpdatePolicies(context.Context, datapath.PolicyUpdate) error    { return nil }
func (rows) PolicySeed() ([]byte, error)                                    { return []byte("seed"), nil }
func (rows) SetNotReady(string)                                             {}
func (rows) Start(context.Context, endpoint.Datapath, []netip.Prefix) error { return nil }
func (rows) SetRanges([]netip.Prefix) error                                 { return nil }
func (rows) SetPeers([]pathmtu.Peer)                                        {}
func (rows) MTU(string) int                                                 { return 0 }
func (rows) PolicyVerdict(context.Context, datapath.PolicyQuery) (v datapath.PolicyVerdict, err error) {
	return v, nil
}

// enforcingNode is a node with one policed pod to come, shop/web, and what holds its policies.
func enforcingNode(t *testing.T, r registrar) (*node.Node, *podPolicies) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	open := func(context.Context, datapath.Node) (node.Datapath, error) { return rows{}, nil }
	n := node.New(open, rows{}, rows{}, func() error { return nil }, log)
	m := newPolicyMetrics(n, newDatapathHolder(), log)
	n.EnforcePolicies(m.observe)
	p := newPodPolicies(Config{PolicyWait: 5 * time.Second, PeerWait: 500 * time.Millisecond}, n, r, m, log)
	err := n.Apply(t.Context(), agentsync.Update{
		LocalNode: &state.LocalNode{Name: "a", PodCidrs: []string{"10.1.0.0/24"}, Addresses: []string{"192.0.2.1"}},
		Known:     agentsync.Types{LocalNode: true, Peers: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = n.ApplyPolicies(t.Context(), agentsync.PolicyUpdate{Known: true, Fresh: true, Objects: []*state.PolicyObject{
		&state.PolicyObject{Object: &state.PolicyObject_Scope{Scope: &state.PolicyScope{Namespaces: []string{"shop"}}}},
		&state.PolicyObject{Object: &state.PolicyObject_Policy{Policy: &state.Policy{Namespace: "shop", Name: "p", Ingress: &state.PolicyRules{}}}},
		&state.PolicyObject{Object: &state.PolicyObject_Subject{Subject: &state.PolicySubject{Namespace: "shop", Name: "web", Uid: "u", Peer: true, Policies: []string{"policy/NetworkPolicy/shop/p"}}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return n, p
}

// told is a registrar that remembers.
type told struct {
	pods   []agentsync.PodAddresses
	answer func(context.Context) (agentsync.Registration, error)
}

func (r *told) Register(ctx context.Context, p agentsync.PodAddresses) (agentsync.Registration, error) {
	r.pods = append(r.pods, p)
	if r.answer != nil {
		return r.answer(ctx)
	}
	return agentsync.Registration{Asked: 1, Known: 1}, nil
}

var address = netip.MustParseAddr("10.1.0.5")

func attachmentOf(namespace, name, uid string) (endpoint.Attachment, endpoint.Record) {
	a := endpoint.Attachment{Key: endpoint.Key{ContainerID: name, IfName: "eth0"}, Pod: endpoint.Pod{Namespace: namespace, Name: name, UID: uid}}
	return a, endpoint.Record{Pod: a.Pod, Endpoint: datapath.Endpoint{EndpointSpec: datapath.EndpointSpec{ContainerID: name, IfName: "eth0", Addresses: []netip.Addr{address}}}}
}

func TestANewPodIsMadeKnownToThoseWhosePoliciesNameIt(t *testing.T) {
	r := &told{}
	_, p := enforcingNode(t, r)
	for _, c := range []struct {
		namespace, name string
		registered      int
	}{{"kube-system", "dns", 0}, {"shop", "web", 1}} {
		a, record := attachmentOf(c.namespace, c.name, "u")
		if err := errors.Join(p.Await(t.Context(), a), p.Prepare(t.Context(), a, []netip.Addr{address})); err != nil {
			t.Fatal(err)
		}
		p.Connected(t.Context(), record)
		if len(r.pods) != c.registered {
			t.Errorf("after pod %s: %d registered, want %d", c.name, len(r.pods), c.registered)
		}
	}
	if got := r.pods[0]; got.Name != "web" || got.UID != "u" || got.Addresses[0] != address {
		t.Errorf("it was registered as %+v", got)
	}
}

func TestNobodyWaitsLongForControllers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := enforcingNode(t, &told{answer: func(ctx context.Context) (agentsync.Registration, error) {
			<-ctx.Done()
			return agentsync.Registration{Asked: 1}, errors.Join(ctx.Err())
		}})
		a, record := attachmentOf("shop", "web", "u")
		if err := errors.Join(p.Await(t.Context(), a), p.Prepare(t.Context(), a, []netip.Addr{address})); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		p.Connected(t.Context(), record)
		if took := time.Since(began); took != 500*time.Millisecond {
			t.Errorf("the pod waited %v, want --peer-wait", took)
		}
		began = time.Now()
		a, _ = attachmentOf("shop", "db", "u")
		err := p.Await(t.Context(), a)
		var words *cniapi.Error
		if took := time.Since(began); took != 5*time.Second || !errors.As(err, &words) || words.Code != cniapi.CodeTryAgainLater || !strings.Contains(words.Msg, "shop/db") {
			t.Errorf("a pod that nobody tells of waited %v and was told %v", took, err)
		}
	})
}

func TestATraceIsServed(t *testing.T) {
	n, p := enforcingNode(t, &told{})
	a, _ := attachmentOf("shop", "web", "u")
	if err := p.Prepare(t.Context(), a, []netip.Addr{address}); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	(&healthServer{name: "a", node: n, dp: newDatapathHolder()}).servePolicies(mux)
	for _, c := range []struct {
		name, query, want string
		code              int
	}{
		{"a pod", "pod=shop/web&peer=10.2.0.1&direction=ingress&protocol=6&port=80", "", http.StatusOK},
		{"another node's pod", "pod=shop/db&peer=10.2.0.1&direction=ingress&protocol=6", "no such pod", http.StatusNotFound},
		{"no direction", "pod=shop/web&peer=10.2.0.1&protocol=6", "direction", http.StatusBadRequest},
		{"no address", "pod=shop/web&peer=web&direction=ingress&protocol=6", `peer is "web"`, http.StatusBadRequest},
		{"a family that it has not", "pod=shop/web&peer=fd00::1&direction=ingress&protocol=6", "no address of the family", http.StatusBadRequest},
		{"no protocol", "pod=shop/web&peer=10.2.0.1&direction=ingress&protocol=tcp", "protocol", http.StatusBadRequest},
		{"a port too high", "pod=shop/web&peer=10.2.0.1&direction=ingress&protocol=6&port=65536", "port", http.StatusBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/trace?"+c.query, nil))
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			var v view.Trace
			if c.code == http.StatusOK && (json.Unmarshal(w.Body.Bytes(), &v) != nil || v.Node != "a" || v.Allow || v.Pod != "shop/web" || len(v.Policies) != 1 || v.Kernel == nil) {
				t.Errorf("%s", w.Body)
			}
		})
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/policies", nil))
	var v view.Node
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || !v.InForce || v.Policies != 1 || len(v.Pods) != 1 || !v.Pods[0].Ingress || v.Pods[0].Egress {
		t.Errorf("%v: %s", err, w.Body)
	}
}

func FuzzTrace(f *testing.F) {
	f.Add("pod=shop/web&peer=10.2.0.1&direction=ingress&protocol=6&port=80")
	f.Fuzz(func(t *testing.T, query string) {
		v, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		if pod, q, err := parseTrace(v); err == nil && (pod == "" || !q.Peer.IsValid() || q.Direction == 0) {
			t.Errorf("%q is read as %q, %+v", query, pod, q)
		}
	})
}
