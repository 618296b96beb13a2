// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fairlead-io/fairlead/internal/trust/revocation"
)

// ServerName is the DNS name in the serving certificate of every controller.
const ServerName = "fairlead-controller.fairlead-system"

// Config is what a Client needs to know. Zero durations take the defaults.
type Config struct {
	// NodeName is the agent's node; ClusterName its cluster. Both are part of the
	// identity that the agent enrolls with and expects of a controller.
	NodeName    string
	ClusterName string
	// AgentVersion is reported to the controller, e.g. "v0.1.0".
	AgentVersion string
	// StateDir holds client.crt, client.key, state.pb, services.log, policies.log and controllers.json. It is made if missing.
	StateDir string
	// TokenFile is the projected ServiceAccount token with audience
	// "fairlead-controller". It is read again for every enrollment.
	TokenFile string
	// RootsFile is the PEM bundle that controllers' certificates must chain to. It
	// is read again for every connection.
	RootsFile string
	// RevokedFile is the list of CAs that are not accepted any more; empty: the file
	// "revoked" beside RootsFile. No file is the empty list.
	RevokedFile string
	// LittleRoom says which of the node's maps are nearly full, in words for people, which
	// the controller is told with the next acknowledgement; nil or empty: none is.
	LittleRoom func() string
	// Log receives what happens to the stream and the certificate.
	Log *slog.Logger

	// DialTimeout bounds connecting to one address, TLS included (3 s).
	DialTimeout time.Duration
	// FirstRetry is the longest wait before the first retry after a stream was
	// lost (200 ms); waits double from there up to MaxRetry (10 s), with jitter.
	FirstRetry, MaxRetry time.Duration
	// Keepalive is the idle time after which the connection is probed, and how long
	// the probe may take (10 s each).
	Keepalive time.Duration
	// SaveInterval is the least time between two writes of the state file (200 ms).
	SaveInterval time.Duration
	// SyncInterval is how much later the logs of Services and policies are brought to the disk, where a
	// power cut leaves it (5 s).
	SyncInterval time.Duration
	// RevokedInterval is how often it is looked whether the peer of the stream was
	// revoked (1 s).
	RevokedInterval time.Duration
}

func (c *Config) complete() error {
	var errs []error
	for _, f := range []struct{ name, value string }{
		{"NodeName", c.NodeName}, {"ClusterName", c.ClusterName}, {"StateDir", c.StateDir},
		{"TokenFile", c.TokenFile}, {"RootsFile", c.RootsFile},
	} {
		if f.value == "" {
			errs = append(errs, fmt.Errorf("sync.Config: field %s is empty; set it", f.name))
		}
	}
	setDefault(&c.DialTimeout, 3*time.Second)
	setDefault(&c.FirstRetry, 200*time.Millisecond)
	setDefault(&c.MaxRetry, 10*time.Second)
	setDefault(&c.Keepalive, 10*time.Second)
	setDefault(&c.SaveInterval, 200*time.Millisecond)
	setDefault(&c.SyncInterval, 5*time.Second)
	setDefault(&c.RevokedInterval, time.Second)
	if c.RevokedFile == "" {
		c.RevokedFile = filepath.Join(filepath.Dir(c.RootsFile), revocation.Key)
	}
	if c.LittleRoom == nil {
		c.LittleRoom = func() string { return "" }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return errors.Join(errs...)
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d <= 0 {
		*d = v
	}
}
