// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"net"
	"path/filepath"

	"github.com/fairlead-io/fairlead/test/capi"
	"github.com/fairlead-io/fairlead/test/lab/node"
	"github.com/fairlead-io/fairlead/test/lab/pki"
	"github.com/fairlead-io/fairlead/test/lab/plan"
)

// CoreManager is the binary of Cluster API's core manager, beside those of Kubernetes.
const CoreManager = "cluster-api-core"

// CoreWebhooks is where the hub's API server reaches the manager's webhooks: they run on one machine.
const CoreWebhooks = "https://127.0.0.1:9443"

const (
	coreName    = "cluster-api"
	webhookCA   = "webhook-ca"
	webhookCert = "tls" // The manager looks for tls.crt and tls.key.
	// coreWorkers is how many objects of a kind it works on at a time. Its own defaults, 10 to 100, make
	// nothing but conflicts on two processors.
	coreWorkers = 4
)

// ClusterAPI writes the configuration of Cluster API's core manager and returns its service, to run
// beside the hub's API server, and the authority of its webhooks' certificate.
func ClusterAPI(hub plan.Cluster, c Credentials) (node.Service, []byte, error) {
	dir := node.Spec{Dir: hub.ControlPlane.Dir}.Config()
	ca, err := pki.LoadAuthority(dir, webhookCA)
	if err != nil {
		return node.Service{}, nil, err
	}
	hooks := filepath.Join(dir, "webhooks")
	if _, err := ca.Issue(hooks, webhookCert, pki.Request{CommonName: coreName, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}); err != nil {
		return node.Service{}, nil, err
	}
	user := pki.Request{CommonName: coreName, Organizations: []string{"system:masters"}}
	if _, err := userKubeconfig(c.CA, hub.Name, dir, coreName, loopbackAPI, user); err != nil {
		return node.Service{}, nil, err
	}
	return coreManager(), ca.Cert, nil
}

func coreManager() node.Service {
	s := node.Service{
		Name: coreName,
		// The machine is shared with all others of the lab.
		Env: []string{"KUBECONFIG=" + filepath.Join(node.ConfigDir, coreName+".kubeconfig"), "GOGC=60"},
		Argv: []string{
			filepath.Join(node.BinDir, CoreManager),
			"--feature-gates=" + capi.Core.FeatureGates,
			"--webhook-port=9443", "--webhook-cert-dir=" + filepath.Join(node.ConfigDir, "webhooks"),
			"--health-addr=127.0.0.1:9440", "--diagnostics-address=0",
		},
	}
	for _, kind := range capi.Core.Workers {
		s.Argv = append(s.Argv, fmt.Sprintf("--%s-concurrency=%d", kind, coreWorkers))
	}
	return s
}
