// SPDX-License-Identifier: Apache-2.0

package cniapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAMessageSurvivesTheSocket(t *testing.T) {
	want := Response{Result: &Result{
		Interfaces: []Interface{{Name: "eth0", MAC: "02:00:00:00:00:01", MTU: 1450, Netns: "/run/netns/x"}},
		Addresses:  []Address{{Prefix: netip.MustParsePrefix("10.1.0.5/32"), Gateway: netip.MustParseAddr("10.1.0.1")}},
		Routes:     []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
	}}
	var wire bytes.Buffer
	if err := Write(&wire, &want); err != nil {
		t.Fatal(err)
	}
	wire.WriteString("next message")
	var got Response
	if err := Read(&wire, &got); err != nil {
		t.Fatal(err)
	}
	compare := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	compareAddr := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(want, got, compare, compareAddr); diff != "" {
		t.Error(diff)
	}
	if rest := wire.String(); rest != "next message" {
		t.Errorf("read beyond the message: %q is left", rest)
	}
}

func TestReadRefusesWhatIsNoMessage(t *testing.T) {
	for name, tc := range map[string]struct {
		wire string
		want string
	}{
		"nothing":         {"", "EOF"},
		"half a header":   {"\x00\x00", "unexpected EOF"},
		"too long":        {"\x7f\xff\xff\xff{}", "longer than"},
		"cut short":       {"\x00\x00\x00\x10{}", "unexpected EOF"},
		"not JSON":        {"\x00\x00\x00\x03abc", "decode"},
		"of another type": {"\x00\x00\x00\x02[]", "decode"},
	} {
		t.Run(name, func(t *testing.T) {
			var req Request
			err := Read(strings.NewReader(tc.wire), &req)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestAsErrorKeepsTheCode(t *testing.T) {
	wrapped := errors.Join(Errorf(CodeExhausted, "full"), io.EOF)
	if got := AsError(wrapped).Code; got != CodeExhausted {
		t.Errorf("code %d, want %d", got, CodeExhausted)
	}
	if got := AsError(io.EOF).Code; got != CodeInternal {
		t.Errorf("code %d, want %d", got, CodeInternal)
	}
}

func FuzzRead(f *testing.F) {
	var wire bytes.Buffer
	_ = Write(&wire, &Request{Version: Version, Command: CommandAdd, ContainerID: "c", Config: json.RawMessage(`{"cniVersion":"1.1.0"}`)})
	f.Add(wire.Bytes())
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Fuzz(func(t *testing.T, b []byte) {
		var req Request
		if Read(bytes.NewReader(b), &req) != nil {
			return
		}
		var again bytes.Buffer
		if err := Write(&again, &req); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
	})
}
