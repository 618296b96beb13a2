// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"testing"
)

var (
	key1 = bytes.Repeat([]byte{1}, 32)
	key2 = bytes.Repeat([]byte{2}, 32)
)

func TestMessages(t *testing.T) {
	want := message{kind: here, nonce: 1 << 60, from: "node-a", to: "node-b", refuses: []netip.Addr{vip4, vip6}}
	got, key, err := decode(want.encode(key2), [][]byte{key1, key2})
	if err != nil || !reflect.DeepEqual(got, want) || !bytes.Equal(key, key2) {
		t.Errorf("got %+v with %v, %v", got, key, err)
	}
}

func TestForgedMessages(t *testing.T) {
	good := message{kind: leave, nonce: 7, from: "a", to: "b"}.encode(key1)
	if _, _, err := decode(good, [][]byte{key2}); !errors.Is(err, errForged) {
		t.Errorf("of another secret: %v", err)
	}
	if _, _, err := decode(good, nil); !errors.Is(err, errForged) {
		t.Errorf("without a secret: %v", err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, _, err := decode(bad, [][]byte{key1}); err == nil {
			t.Errorf("with byte %d changed it is taken", i)
		}
		if _, _, err := decode(good[:i], [][]byte{key1}); err == nil {
			t.Errorf("cut after %d bytes it is taken", i)
		}
	}
}

func FuzzDecode(f *testing.F) {
	m := message{kind: here, nonce: 7, from: "a", to: "b", refuses: []netip.Addr{vip6}}.encode(key1)
	f.Add(m[len(magic) : len(m)-macSize])
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := decodeBody(body)
		if err != nil {
			return
		}
		again := m.encode(key1)
		if len(m.from) <= maxName && len(m.to) <= maxName {
			if back, _, err := decode(again, [][]byte{key1}); err != nil || !reflect.DeepEqual(back, m) {
				t.Errorf("%+v became %+v, %v", m, back, err)
			}
		}
	})
}
