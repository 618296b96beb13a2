// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/secret"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// kubeconfigKey is the key of the kubeconfig in its Secret.
const kubeconfigKey = secret.KubeconfigDataName

func kubeconfigName(cluster string) string { return secret.Name(cluster, secret.Kubeconfig) }

// kubeconfig reads and checks a Cluster's kubeconfig Secret. The error is a *Problem unless
// reading itself failed. Nothing of the kubeconfig but the API server's URL is ever part of a
// message.
func (f *Fleet) kubeconfig(ctx context.Context, key client.ObjectKey) (raw []byte, server string, err error) {
	name := client.ObjectKey{Namespace: key.Namespace, Name: kubeconfigName(key.Name)}
	s := &corev1.Secret{}
	err = f.secrets.Get(ctx, name, s)
	if apierrors.IsNotFound(err) {
		return nil, "", &Problem{Reason: v1alpha1.ReasonKubeconfigMissing, Person: true, Message: fmt.Sprintf(
			"Secret %s, the kubeconfig of Cluster %s, is not there or lacks the label %s=%s: create it with that label and the kubeconfig in key %q",
			name, key, clusterv1.ClusterNameLabel, key.Name, kubeconfigKey)}
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading Secret %s: %w", name, err)
	}
	raw, ok := s.Data[kubeconfigKey]
	if !ok || len(raw) == 0 {
		return nil, "", &Problem{Reason: v1alpha1.ReasonKubeconfigMissing, Person: true, Message: fmt.Sprintf(
			"Secret %s has no key %q: put the kubeconfig of Cluster %s there", name, kubeconfigKey, key)}
	}
	server, fault := serverOf(raw)
	if fault != "" {
		return nil, "", &Problem{Reason: v1alpha1.ReasonKubeconfigMalformed, Person: true, Message: fmt.Sprintf(
			"key %q of Secret %s %s: put a kubeconfig of Cluster %s there that has a current context with a server and credentials in it",
			kubeconfigKey, name, fault, key)}
	}
	return raw, server, nil
}

// serverOf returns the API server's URL in a kubeconfig, or what is wrong with it.
// Errors of the decoder may quote what they read, so they are not passed on.
func serverOf(raw []byte) (server, fault string) {
	loaded, err := clientcmd.Load(raw)
	if err != nil {
		return "", "is not a usable kubeconfig"
	}
	if namesFiles(loaded) {
		// They would be the operator's own, sent to whatever server the kubeconfig names.
		return "", "names files (tokenFile, certificate-authority, client-certificate or client-key) instead of holding what is in them"
	}
	cfg, err := clientcmd.RESTConfigFromKubeConfig(raw)
	switch {
	case err != nil:
		return "", "is not a usable kubeconfig"
	case cfg.ExecProvider != nil:
		return "", "runs a program for its credentials (exec), which an operator must not do"
	case cfg.AuthProvider != nil:
		return "", "uses an authentication provider plugin, which is not supported"
	}
	if u, err := url.Parse(cfg.Host); err != nil || u.Host == "" || u.User != nil {
		return "", "has a server that is not the URL of an API server"
	}
	return cfg.Host, ""
}

// namesFiles says whether a kubeconfig refers to files.
func namesFiles(k *api.Config) bool {
	for _, c := range k.Clusters {
		if c.CertificateAuthority != "" {
			return true
		}
	}
	for _, u := range k.AuthInfos {
		if u.TokenFile != "" || u.ClientCertificate != "" || u.ClientKey != "" {
			return true
		}
	}
	return false
}

func labelExists(label string) (labels.Selector, error) {
	r, err := labels.NewRequirement(label, selection.Exists, nil)
	if err != nil {
		return nil, err
	}
	return labels.NewSelector().Add(*r), nil
}

// onlyKubeconfigs empties every cached Secret that is not a kubeconfig: Cluster API
// labels CA keys and bootstrap data too, and they are none of the operator's business.
func onlyKubeconfigs(o any) (any, error) {
	s, ok := o.(*corev1.Secret)
	if !ok {
		return o, nil
	}
	s.ManagedFields = nil
	if _, ok := IsKubeconfig(s); !ok {
		s.Data, s.Annotations = nil, nil
	}
	return s, nil
}
