// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/state"
)

func TestWhatTheAnnouncerIsTold(t *testing.T) {
	key := bytes.Repeat([]byte{1}, 32)
	s, err := announcements(agentsync.Update{
		LocalNode: &state.LocalNode{Name: "n1", Addresses: []string{"192.0.2.1"}},
		Peers: map[string]*state.PeerNode{
			"n1": {Name: "n1", Addresses: []string{"192.0.2.1"}}, "n2": {Name: "n2", Addresses: []string{"192.0.2.2", "2001:db8::2"}},
		},
		Announcements: map[string]*state.Announcement{
			"192.0.2.9": {Address: []byte{192, 0, 2, 9}, Nodes: []string{"n2", "n1"}, Interfaces: []string{"eth1"}, Key: key},
			"192.0.2.8": {Address: []byte{192, 0, 2, 8}, Nodes: []string{"n1"}, Key: key[1:]},
		},
	})
	if err == nil || !strings.Contains(err.Error(), "192.0.2.8") {
		t.Errorf("%v does not name the announcement whose key is short", err)
	}
	if len(s.Peers) != 1 || len(s.Peers["n2"]) != 2 || len(s.Addresses) != 1 || !bytes.Equal(s.Key, key) {
		t.Errorf("got %+v", s)
	}
	if len(s.Items) != 1 || s.Items[0].Address != netip.MustParseAddr("192.0.2.9") || strings.Join(s.Items[0].Nodes, " ") != "n2 n1" {
		t.Errorf("got %+v", s.Items)
	}
}
