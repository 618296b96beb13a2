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
	r := newRoom("Services", serviceRoomSetting, slog.New(slog.NewTextHandler(&log, nil)))
	for _, step := range []struct {
		used, lines int
		full        bool
	}{{0, 0, false}, {89, 0, false}, {90, 1, true}, {95, 1, true}, {85, 1, true}, {91, 1, true}, {79, 1, false}, {100, 2, true}} {
		r.look([]datapath.Usage{{Name: "frontends", Used: 5, Max: 100}, {Name: "slots", Used: step.used, Max: 100}})
		if n := strings.Count(log.String(), "\n"); n != step.lines {
			t.Errorf("%d %% full: %d warnings until now, want %d", step.used, n, step.lines)
		}
		if words, want := r.words(), step.full; (words != "") != want || want && !strings.Contains(words, "spec.cni.services.backends") {
			t.Errorf("%d %% full: %q is said, want it to say so: %t", step.used, words, want)
		}
	}
	for _, word := range []string{"map=slots", "used=90", "max=100", "spec.cni.services.backends"} {
		if !strings.Contains(log.String(), word) {
			t.Errorf("no %s in %s", word, log.String())
		}
	}
	r.look([]datapath.Usage{{Name: "backends"}}) // Services are off
}
