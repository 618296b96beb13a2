// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"log/slog"

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
	// said are the maps that it was said of and that have not become emptier since.
	said map[string]bool
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
	for _, u := range usage {
		switch percent := 100 * u.Used / max(u.Max, 1); {
		case percent >= nearlyFull && !r.said[u.Name]:
			r.said[u.Name] = true
			r.log.Warn("there is little room left for Services on this node: raise the setting, or remove Services",
				"map", u.Name, "used", u.Used, "max", u.Max, "setting", roomSettings[u.Name])
		case percent < roomAgain:
			delete(r.said, u.Name)
		}
	}
}

func mapStatuses(usage []datapath.Usage) []MapStatus {
	var all []MapStatus
	for _, u := range usage {
		all = append(all, MapStatus(u))
	}
	return all
}
