// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// Problem says why a cluster cannot be used now. Reason is one of api's reasons of
// the condition Connected.
type Problem struct {
	Reason, Message string
	// Person says that the cluster stays away until a person corrects something.
	Person bool
}

func (p *Problem) Error() string { return p.Message }

// AsProblem turns an error of a request to a cluster into a *Problem when it speaks
// of the cluster and not of the request: refused credentials, or no answer.
func AsProblem(err error, key client.ObjectKey) (*Problem, bool) {
	var p *Problem
	if errors.As(err, &p) {
		return p, true
	}
	if apierrors.IsUnauthorized(err) {
		return &Problem{
			Reason: v1alpha1.ReasonKubeconfigRefused, Person: true,
			Message: fmt.Sprintf("the API server of Cluster %s refuses the credentials in key %q of Secret %s/%s: renew the kubeconfig",
				key, kubeconfigKey, key.Namespace, kubeconfigName(key.Name)),
		}, true
	}
	return nil, false
}

func notProvisioned(key client.ObjectKey) *Problem {
	return &Problem{Reason: v1alpha1.ReasonInfrastructureNotProvisioned, Message: fmt.Sprintf(
		"Cluster %s has no infrastructure yet (status.initialization.infrastructureProvisioned is not true); Fairlead goes on when it has", key)}
}

func connecting(key client.ObjectKey, server string) *Problem {
	return &Problem{Reason: v1alpha1.ReasonConnecting, Message: fmt.Sprintf("connecting to the API server of Cluster %s%s", key, at(server))}
}

func unreachable(key client.ObjectKey, server string) *Problem {
	return &Problem{Reason: v1alpha1.ReasonUnreachable, Message: fmt.Sprintf(
		"the API server of Cluster %s%s does not answer, answers with errors, or refuses the kubeconfig in key %q of Secret %s/%s; Fairlead goes on when it answers",
		key, at(server), kubeconfigKey, key.Namespace, kubeconfigName(key.Name))}
}

func at(server string) string {
	if server == "" {
		return ""
	}
	return " at " + server
}
