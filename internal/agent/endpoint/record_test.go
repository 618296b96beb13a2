// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func record(id string, addrs ...string) Record {
	r := Record{Version: recordVersion, Network: "fairlead", Pod: Pod{Namespace: "shop", Name: "cart-0"}}
	r.Endpoint.ContainerID, r.Endpoint.IfName, r.Endpoint.Netns = id, "eth0", "/run/netns/"+id
	for _, a := range addrs {
		r.Endpoint.Addresses = append(r.Endpoint.Addresses, netip.MustParseAddr(a))
	}
	return r
}

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRecordsSurvive(t *testing.T) {
	s := newStore(t)
	for _, r := range []Record{record("c1", "10.1.0.5", "fd00::5"), record("c2", "10.1.0.6")} {
		if err := s.Save(r); err != nil {
			t.Fatal(err)
		}
	}
	got, problems, err := s.Load()
	if err != nil || len(problems) != 0 || len(got) != 2 {
		t.Fatalf("got %v, problems %v, %v", got, problems, err)
	}
	if got[0].Key() != (Key{"c1", "eth0"}) || got[0].Endpoint.Addresses[1].String() != "fd00::5" || got[0].Pod.String() != "shop/cart-0" {
		t.Errorf("got %+v", got[0])
	}
	if err := s.Delete(Key{"c1", "eth0"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(Key{"c1", "eth0"}); err != nil {
		t.Errorf("deleting what is gone: %v", err)
	}
}

func TestADamagedRecordHarmsNoOther(t *testing.T) {
	good := record("good", "10.1.0.5")
	for name, tc := range map[string]struct {
		file, content string
		want          string
	}{
		"half a file":             {"bad_eth0.json", `{"version":1,"netw`, "unexpected end"},
		"of a later version":      {"bad_eth0.json", marshal(func(r *Record) { r.Version = 99 }), "version is 99"},
		"without an address":      {"bad_eth0.json", marshal(func(r *Record) { r.Endpoint.Addresses = nil }), "no address"},
		"with a loopback address": {"bad_eth0.json", marshal(func(r *Record) { r.Endpoint.Addresses[0] = netip.MustParseAddr("127.0.0.1") }), "127.0.0.1"},
		"with somebody's address": {"zbad_eth0.json", marshal(func(r *Record) { r.Endpoint.ContainerID = "zbad"; r.Endpoint.Addresses = good.Endpoint.Addresses }), "good/eth0"},
		"of another attachment":   {"other_eth0.json", marshal(func(*Record) {}), "bad/eth0"},
		"that climbs out":         {"bad_eth0.json", marshal(func(r *Record) { r.Endpoint.ContainerID = "../x" }), "cannot name"},
		"whose writing was cut":   {"bad_eth0.json.new", `{}`, "interrupted"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			if err := s.Save(good); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(s.dir, tc.file)
			if err := os.WriteFile(path, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			got, problems, err := s.Load()
			if err != nil || len(got) != 1 || got[0].Key() != good.Key() {
				t.Errorf("got %v, %v; want the good record", got, err)
			}
			if len(problems) != 1 || !strings.Contains(problems[0].Error(), tc.want) || !strings.Contains(problems[0].Error(), path) {
				t.Errorf("problems %v, want one with %q and the file", problems, tc.want)
			}
			if _, err := os.Stat(path); !os.IsNotExist(err) {
				t.Error("the damaged file is still there")
			}
		})
	}
}

func marshal(change func(*Record)) string {
	r := record("bad", "10.1.0.9")
	change(&r)
	b, _ := json.Marshal(r)
	return string(b)
}

// FuzzDecodeRecord asserts that what is read back from disk is refused, or is
// safe to hand to the datapath and to name a file with.
func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte(marshal(func(*Record) {})))
	f.Add([]byte(`{"version":1,"endpoint":{"containerID":"a","ifName":"e","addresses":["::ffff:1.2.3.4"]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		s := &Store{dir: "/d"}
		if got := s.path(r.Key()); filepath.Dir(got) != "/d" {
			t.Fatalf("record of file %q", got)
		}
		for _, a := range r.Endpoint.Addresses {
			if !a.IsValid() || a.Is4In6() {
				t.Fatalf("address %v", a)
			}
		}
	})
}
