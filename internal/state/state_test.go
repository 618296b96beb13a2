// SPDX-License-Identifier: Apache-2.0

package state

import (
	"testing"

	"google.golang.org/protobuf/proto"
)

func TestTypeURLsAreThoseOfTheMessages(t *testing.T) {
	for url, m := range map[string]proto.Message{
		LocalNodeType: &LocalNode{}, PeerNodeType: &PeerNode{}, EndpointType: &Endpoint{},
	} {
		if got := TypeURL(m); got != url {
			t.Errorf("%T is served as %s, not %s", m, got, url)
		}
	}
	for url, short := range map[string]string{LocalNodeType: "LocalNode", "type.googleapis.com/a.b.C": "C", "C": "C", "a/": ""} {
		if got := ShortType(url); got != short {
			t.Errorf("%q is short for %q, want %q", got, url, short)
		}
	}
}

func TestEqualContentHasEqualVersions(t *testing.T) {
	one, err := Encode("n1", &PeerNode{Name: "n1", PodCidrs: []string{"10.0.1.0/24"}})
	if err != nil {
		t.Fatal(err)
	}
	two, err := Encode("n1", &PeerNode{Name: "n1", PodCidrs: []string{"10.0.1.0/24"}})
	if err != nil {
		t.Fatal(err)
	}
	other, err := Encode("n1", &PeerNode{Name: "n1", PodCidrs: []string{"10.0.2.0/24"}})
	if err != nil {
		t.Fatal(err)
	}
	if one.Version != two.Version || one.Version == other.Version || len(one.Version) != 32 {
		t.Errorf("versions %s, %s, %s", one.Version, two.Version, other.Version)
	}
	if _, err := Encode("bad", &PeerNode{Name: "\xff"}); err == nil {
		t.Error("invalid UTF-8 is encoded")
	}
}
