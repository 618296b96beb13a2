// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/fairlead-io/fairlead/internal/state"
)

func sample(t testing.TB) *held {
	t.Helper()
	h := emptyHeld()
	for _, r := range []struct {
		typeURL, name string
		encode        func() (state.Resource, error)
	}{
		{state.LocalNodeType, "n1", func() (state.Resource, error) {
			return state.Encode("n1", &state.LocalNode{Name: "n1", PodCidrs: []string{"10.0.1.0/24"}})
		}},
		{state.PeerNodeType, "n2", func() (state.Resource, error) { return state.Encode("n2", &state.PeerNode{Name: "n2"}) }},
		{state.EndpointType, "default/a", func() (state.Resource, error) {
			return state.Encode("default/a", &state.Endpoint{Namespace: "default", Name: "a"})
		}},
		{state.AnnouncementType, "192.0.2.1", func() (state.Resource, error) {
			return state.Encode("192.0.2.1", &state.Announcement{Address: []byte{192, 0, 2, 1}})
		}},
	} {
		res, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		h, err = h.with(&discovery.DeltaDiscoveryResponse{TypeUrl: r.typeURL, Resources: []*discovery.Resource{{
			Name: r.name, Version: res.Version, Resource: &anypb.Any{TypeUrl: r.typeURL, Value: res.Body},
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func TestStateFileRoundTrip(t *testing.T) {
	want := sample(t)
	data, err := encodeState("alpha", "n1", want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeState("alpha", "n1", data)
	if err != nil {
		t.Fatal(err)
	}
	if d := want.differs(got); d.Any() || !got.known.All() {
		t.Errorf("it differs in %+v; known %+v", d, got.known)
	}
	again, err := encodeState("alpha", "n1", got)
	if err != nil || !bytes.Equal(data, again) {
		t.Errorf("the same state gives other bytes (%v)", err)
	}
	for cut := range data {
		if _, err := decodeState("alpha", "n1", data[:cut]); err == nil {
			t.Fatalf("the first %d bytes are taken for the whole", cut)
		}
	}
}

// FuzzStateFile feeds the decoder with files whose checksum is right, so that the
// fuzzer gets behind it, and with the bytes as they are.
func FuzzStateFile(f *testing.F) {
	good, err := encodeState("alpha", "n1", sample(f))
	if err != nil {
		f.Fatal(err)
	}
	header := len(stateHeader("alpha", "n1"))
	f.Add(good)
	f.Add(good[header : len(good)-sha256.Size])
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = decodeState("alpha", "n1", data)
		sealed := append([]byte(stateHeader("alpha", "n1")), data...)
		sum := sha256.Sum256(sealed)
		h, err := decodeState("alpha", "n1", append(sealed, sum[:]...))
		if err != nil {
			return
		}
		u := h.update("n1", h.known)
		for name, p := range u.Peers {
			if p == nil || p.GetName() != name {
				t.Fatalf("peer %q is %v", name, p)
			}
		}
		if _, err := encodeState("alpha", "n1", h); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
	})
}

func FuzzAddressFile(f *testing.F) {
	f.Add([]byte(`{"controllers":["10.0.0.1:9440","[fd00::1]:9440"]}`))
	f.Add([]byte(`{"controllers":[null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		addresses, err := decodeAddresses(data)
		if err == nil && !slices.IsSorted(addresses) {
			t.Fatalf("%q is not sorted", addresses)
		}
	})
}

func TestResponseFaultsAreNamed(t *testing.T) {
	res := func(name, typeURL string, body []byte) *discovery.Resource {
		return &discovery.Resource{Name: name, Resource: &anypb.Any{TypeUrl: typeURL, Value: body}}
	}
	peer, err := state.Encode("n2", &state.PeerNode{Name: "n2"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		typeURL string
		in      []*discovery.Resource
		words   string
	}{
		{"a type that was not asked for", "x/y", nil, `type "x/y" was not asked for`},
		{"not decodable", state.PeerNodeType, []*discovery.Resource{res("n2", state.PeerNodeType, []byte{0xff})}, `PeerNode "n2": it cannot be decoded`},
		{"another type inside", state.PeerNodeType, []*discovery.Resource{res("n2", state.EndpointType, peer.Body)}, `PeerNode "n2": it holds a message of type`},
		{"another name inside", state.PeerNodeType, []*discovery.Resource{res("n3", state.PeerNodeType, peer.Body)}, `PeerNode "n3": the message is of "n2"`},
		{"twice", state.PeerNodeType, []*discovery.Resource{res("n2", state.PeerNodeType, peer.Body), res("n2", state.PeerNodeType, peer.Body)}, `PeerNode "n2" comes twice`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := sample(t).with(&discovery.DeltaDiscoveryResponse{TypeUrl: c.typeURL, Resources: c.in})
			if err == nil || !bytes.Contains([]byte(err.Error()), []byte(c.words)) {
				t.Errorf("got %v, want %q", err, c.words)
			}
		})
	}
}
