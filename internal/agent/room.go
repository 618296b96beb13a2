// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-io/fairlead/internal/agent/policy/view"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// MapStatus is how full a map is.
type MapStatus struct {
	Name string `json:"name"`
	Used int    `json:"used"`
	Max  int    `json:"max"`
}

// room says when maps are nearly full: what finds no room is refused, and it is late then.
type room struct {
	what    string                 // is in them
	setting func(of string) string // that makes room
	log     *slog.Logger

	mu sync.Mutex
	// said are the maps that it was said of and that have not become emptier since, with
	// the rows that they have.
	said map[string]int
}

func newRoom(what string, setting func(string) string, log *slog.Logger) *room {
	return &room{what: what, setting: setting, log: log, said: map[string]int{}}
}

// Percent of a map from which it is said to be nearly full, and below which it is forgotten
// that it was said: a map that is about as full as that is not told of again and again.
const (
	nearlyFull = 90
	roomAgain  = 80
)

// serviceRoomSetting is what makes room in a map of Services.
func serviceRoomSetting(name string) string { return serviceRoomSettings[name] }

// policyRoomSetting is what makes room in a map of network policies.
func policyRoomSetting(string) string {
	return "spec.cni.policies.entries (agent flag --policy-entries)"
}

var serviceRoomSettings = map[string]string{
	"frontends": "spec.cni.services.frontends (agent flag --service-frontends)",
	"pools":     "spec.cni.services.frontends (agent flag --service-frontends)",
	"backends":  "spec.cni.services.backends (agent flag --service-backends)",
	"slots":     "spec.cni.services.backends (agent flag --service-backends)",
}

// look warns of each map once.
func (r *room) look(usage []datapath.Usage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range usage {
		switch percent := 100 * u.Used / max(u.Max, 1); {
		case percent >= nearlyFull && r.said[u.Name] == 0:
			r.said[u.Name] = u.Max
			r.log.Warn("there is little room left for "+r.what+" on this node: raise the setting, or remove some",
				"map", u.Name, "used", u.Used, "max", u.Max, "setting", r.setting(u.Name))
		case percent < roomAgain:
			delete(r.said, u.Name)
		}
	}
}

// words say which maps are nearly full, and what makes room in them; empty: none is. They do
// not change with each row, as what they end up in is written on every change.
func (r *room) words() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(r.said)) {
		lines = append(lines, fmt.Sprintf("%s: about %d %% or more of %d rows are in use; raise %s, or remove %s", name, nearlyFull, r.said[name], r.setting(name), r.what))
	}
	return strings.Join(lines, "\n")
}

// words joins what several say.
func words(of ...*room) string {
	var lines []string
	for _, r := range of {
		if w := r.words(); w != "" {
			lines = append(lines, w)
		}
	}
	return strings.Join(lines, "\n")
}

func mapOf(u datapath.Usage) view.Map { return view.Map(u) }

func mapStatuses(usage []datapath.Usage) []MapStatus {
	var all []MapStatus
	for _, u := range usage {
		all = append(all, MapStatus(u))
	}
	return all
}
