// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// TestLittleRoom: a map that becomes nearly full is told of once, with its setting, and again
// only after it had room.
func TestLittleRoom(t *testing.T) {
	var log bytes.Buffer
	r := serviceRoom{log: slog.New(slog.NewTextHandler(&log, nil)), said: map[string]bool{}}
	for _, step := range []struct{ used, lines int }{{0, 0}, {89, 0}, {90, 1}, {95, 1}, {85, 1}, {91, 1}, {79, 1}, {100, 2}} {
		r.look([]datapath.Usage{{Name: "frontends", Used: 5, Max: 100}, {Name: "slots", Used: step.used, Max: 100}})
		if n := strings.Count(log.String(), "\n"); n != step.lines {
			t.Errorf("%d %% full: %d warnings until now, want %d", step.used, n, step.lines)
		}
	}
	for _, word := range []string{"map=slots", "used=90", "max=100", "spec.cni.services.backends"} {
		if !strings.Contains(log.String(), word) {
			t.Errorf("no %s in %s", word, log.String())
		}
	}
	r.look([]datapath.Usage{{Name: "backends"}}) // Services are off
}
