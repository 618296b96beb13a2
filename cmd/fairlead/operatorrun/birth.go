// SPDX-License-Identifier: Apache-2.0

package operatorrun

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/fairlead-io/fairlead/controllers/fleetpool"
	"github.com/fairlead-io/fairlead/internal/birth"
	"github.com/fairlead-io/fairlead/internal/fleet"
	"github.com/fairlead-io/fairlead/internal/stack"
	"github.com/fairlead-io/fairlead/internal/trust"
)

// namespaceFile has the namespace of the pod that a process runs in.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// hookSeconds says how long hooks take. Cluster API gives up after ten seconds.
var hookSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
	Name: "fairlead_hook_seconds", Help: "How long the answers to Cluster API's hooks took, by result: done, held or failed.",
	Buckets: []float64{.005, .02, .05, .1, .25, .5, 1, 2.5, 5, 10},
}, []string{"hook", "result"})

func init() { metrics.Registry.MustRegister(hookSeconds) }

// answersHooks says whether the operator answers Cluster API's hooks.
func (c *Config) answersHooks() bool { return c.HooksAddress != "" && c.HooksAddress != "0" }

// addBirth adds what gives clusters their addresses, and the server of the hooks.
func addBirth(mgr ctrl.Manager, c *Config, connections *fleet.Fleet, versions func() stack.Versions) error {
	giver := &birth.Giver{
		Ledger: &birth.Ledger{Live: mgr.GetAPIReader(), Cached: mgr.GetClient(), Writer: mgr.GetClient(), Now: time.Now},
		Events: mgr.GetEventRecorder("fairlead-operator"),
	}
	pools := &fleetpool.Reconciler{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Giver: giver, Now: time.Now}
	if err := pools.SetupWithManager(mgr); err != nil || !c.answersHooks() {
		return err
	}
	namespace, err := c.ownNamespace()
	if err != nil {
		return err
	}
	identity := &birth.Identity{
		Roots: &trust.Store{Reader: mgr.GetAPIReader(), Writer: mgr.GetClient(), Now: time.Now},
		Name:  c.HooksName, Namespace: namespace, Hosts: c.HooksHosts, Writer: mgr.GetClient(), Reader: mgr.GetAPIReader(), Now: time.Now, Log: c.Log,
	}
	hooks := &birth.Hooks{
		Giver: giver, Support: &birth.Support{Reader: mgr.GetClient(), Versions: versions}, Hurry: connections.Hurry,
		Observe: func(hook, result string, took time.Duration) {
			hookSeconds.WithLabelValues(hook, result).Observe(took.Seconds())
		},
	}
	server, err := birth.NewServer(c.HooksAddress, identity.Certificate, hooks, &birth.Admission{Reader: mgr.GetClient()})
	if err != nil {
		return err
	}
	return errors.Join(mgr.Add(identity), mgr.Add(server),
		mgr.AddReadyzCheck("hooks", func(*http.Request) error { return identity.Ready() }))
}

// ownNamespace is the namespace that the operator runs in.
func (c *Config) ownNamespace() (string, error) {
	if ns := c.LeaderElectionNamespace; ns != "" {
		return ns, nil
	}
	raw, err := os.ReadFile(namespaceFile)
	if err != nil {
		return "", fmt.Errorf("the operator's namespace is not known outside of a pod: set --leader-election-namespace: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}
