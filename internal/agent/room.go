// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// MapStatus is how full one of the maps of Services is.
type MapStatus struct {
	Name string `json:"name"`
	Used int    `json:"used"`
	Max  int    `json:"max"`
}

// serviceRoom says when the maps of Services are nearly full: Services that find no room are
// refused, and it is late then.
type serviceRoom struct {
	log *slog.Logger

	mu sync.Mutex
	// said are the maps that it was said of and that have not become emptier since, with
	// the rows that they have.
	said map[string]int
}

func newServiceRoom(log *slog.Logger) *serviceRoom {
	return &serviceRoom{log: log, said: map[string]int{}}
}

// Percent of a map from which it is said to be nearly full, and below which it is forgotten
// that it was said: a map that is about as full as that is not told of again and again.
const (
	nearlyFull = 90
	roomAgain  = 80
)

// roomSettings are what makes room in a map.
var roomSettings = map[string]string{
	"frontends": "spec.cni.services.frontends (agent flag --service-frontends)",
	"pools":     "spec.cni.services.frontends (agent flag --service-frontends)",
	"backends":  "spec.cni.services.backends (agent flag --service-backends)",
	"slots":     "spec.cni.services.backends (agent flag --service-backends)",
}

// look warns of each map once.
func (r *serviceRoom) look(usage []datapath.Usage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range usage {
		switch percent := 100 * u.Used / max(u.Max, 1); {
		case percent >= nearlyFull && r.said[u.Name] == 0:
			r.said[u.Name] = u.Max
			r.log.Warn("there is little room left for Services on this node: raise the setting, or remove Services",
				"map", u.Name, "used", u.Used, "max", u.Max, "setting", roomSettings[u.Name])
		case percent < roomAgain:
			delete(r.said, u.Name)
		}
	}
}

// words say which maps are nearly full, and what makes room in them; empty: none is. They do
// not change with each row, as what they end up in is written on every change.
func (r *serviceRoom) words() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(r.said)) {
		lines = append(lines, fmt.Sprintf("%s: about %d %% or more of %d rows are in use; raise %s, or remove Services", name, nearlyFull, r.said[name], roomSettings[name]))
	}
	return strings.Join(lines, "\n")
}

func mapStatuses(usage []datapath.Usage) []MapStatus {
	var all []MapStatus
	for _, u := range usage {
		all = append(all, MapStatus(u))
	}
	return all
}
