// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"testing"

	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

// TestWhatIsSomebodyElsesIsNotAnswered: a subscriber keeps what it holds of such a type, and
// is served the others.
func TestWhatIsSomebodyElsesIsNotAnswered(t *testing.T) {
	l := newLab(t, serve.Options{Unanswered: []string{state.ServiceType}})
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"n1": "10.0.1.0/24"}))
	l.store.SetReady()
	s := l.subscribe("n1")
	s.want(state.ServiceType, map[string]string{"shop/web": "held"})
	s.want(state.PeerNodeType, nil)
	r := s.next()
	expect(t, "the first response", r.GetTypeUrl(), state.PeerNodeType)
	s.ack(r)
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"n1": "10.0.2.0/24"}))
	r = s.next()
	expect(t, "the second response", r.GetTypeUrl(), state.PeerNodeType)
	s.ack(r)
}
