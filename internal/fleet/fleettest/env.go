// SPDX-License-Identifier: Apache-2.0

// Package fleettest gives tests real API servers: a management cluster with Cluster
// API's and Fairlead's CRDs, and workload clusters with their kubeconfig Secrets. It
// is for tests only and owns nothing that runs in production.
package fleettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// Scheme has every kind that the operator uses.
func Scheme() (*apiruntime.Scheme, error) {
	s := apiruntime.NewScheme()
	for _, add := range []func(*apiruntime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, clusterv1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Server is a running API server.
type Server struct {
	Config *rest.Config
	Client client.Client
	env    *envtest.Environment
}

// Hub starts a management cluster. Stop it when the tests are through.
func Hub() (*Server, error) {
	capi, err := clusterAPICRDs()
	if err != nil {
		return nil, err
	}
	s, err := start(append(capi, filepath.Join(root(), "config", "crd", "bases")))
	if err != nil {
		return nil, err
	}
	return s, s.grantOperator()
}

// Operator is the configuration of the operator's own ServiceAccount, with the
// rights that config and the chart give it and no others.
func (s *Server) Operator() *rest.Config {
	cfg := rest.CopyConfig(s.Config)
	cfg.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:fairlead-system:fairlead-operator",
		Groups:   []string{"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:fairlead-system"},
	}
	return cfg
}

// grantOperator creates the ServiceAccount and the rights of config/rbac and config/hooks.
func (s *Server) grantOperator() error {
	for _, path := range []string{"rbac/rbac.yaml", "hooks/hooks.yaml"} {
		if err := s.createAll(filepath.Join(root(), "config", path)); err != nil {
			return fmt.Errorf("config/%s: %w", path, err)
		}
	}
	return nil
}

// createAll creates the objects of a file, and the namespace of a ServiceAccount before it.
func (s *Server) createAll(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	dec := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
	for {
		o := &unstructured.Unstructured{}
		if err := dec.Decode(o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if o.GetKind() == "ServiceAccount" {
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.GetNamespace()}}
			if err := s.Client.Create(context.Background(), ns); err != nil {
				return err
			}
		}
		if err := s.Client.Create(context.Background(), o); err != nil {
			return err
		}
	}
}

// Workload starts a workload cluster with nothing in it.
func Workload() (*Server, error) { return start(nil) }

func start(crds []string) (*Server, error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return nil, fmt.Errorf("KUBEBUILDER_ASSETS is not set to a folder with etcd and kube-apiserver: run these tests with `make test-env`")
	}
	s, err := Scheme()
	if err != nil {
		return nil, err
	}
	env := &envtest.Environment{CRDDirectoryPaths: crds, ErrorIfCRDPathMissing: true, Scheme: s}
	cfg, err := env.Start()
	if err != nil {
		return nil, fmt.Errorf("an API server for the tests did not start (are the programs in KUBEBUILDER_ASSETS=%s complete? `make test-env` sees to that): %w", os.Getenv("KUBEBUILDER_ASSETS"), err)
	}
	cfg.QPS, cfg.Burst = 200, 400
	c, err := client.New(cfg, client.Options{Scheme: s})
	if err != nil {
		return nil, err
	}
	return &Server{Config: cfg, Client: c, env: env}, nil
}

// Stop ends the API server and its etcd.
func (s *Server) Stop() error { return s.env.Stop() }

// Endpoint is the API server's address.
func (s *Server) Endpoint() (host string, port int32) {
	h, p, err := net.SplitHostPort(strings.TrimPrefix(strings.TrimPrefix(s.Config.Host, "https://"), "http://"))
	if err != nil {
		return s.Config.Host, 443
	}
	n, err := strconv.ParseInt(p, 10, 32)
	if err != nil {
		return h, 443
	}
	return h, int32(n)
}

// AddUser makes an administrator with credentials of its own and returns the
// kubeconfig for it.
func (s *Server) AddUser(name string) ([]byte, error) {
	u, err := s.env.AddUser(envtest.User{Name: name, Groups: []string{"system:masters"}}, s.Config)
	if err != nil {
		return nil, err
	}
	return Kubeconfig(u.Config())
}

// Kubeconfig writes a configuration as a kubeconfig.
func Kubeconfig(cfg *rest.Config) ([]byte, error) {
	c := clientcmdapi.NewConfig()
	c.Clusters["c"] = &clientcmdapi.Cluster{Server: cfg.Host, CertificateAuthorityData: cfg.CAData}
	c.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: cfg.CertData, ClientKeyData: cfg.KeyData, Token: cfg.BearerToken}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	c.CurrentContext = "x"
	return clientcmd.Write(*c)
}

// KubeconfigSecret is the Secret that Cluster API's contract asks for.
func KubeconfigSecret(namespace, cluster string, kubeconfig []byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: cluster + "-kubeconfig",
			Labels: map[string]string{clusterv1.ClusterNameLabel: cluster},
		},
		Type: clusterv1.ClusterSecretType,
		Data: map[string][]byte{"value": kubeconfig},
	}
}

// CreateCluster creates a Cluster whose infrastructure is provisioned.
func CreateCluster(ctx context.Context, t *testing.T, hub client.Client, namespace, name string, labels map[string]string, host string, port int32) *clusterv1.Cluster {
	t.Helper()
	c := &clusterv1.Cluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec: clusterv1.ClusterSpec{
			ControlPlaneEndpoint: clusterv1.APIEndpoint{Host: host, Port: port},
			ClusterNetwork:       clusterv1.ClusterNetwork{Pods: clusterv1.NetworkRanges{CIDRBlocks: []string{"10.244.0.0/16", "fd00:244::/56"}}},
		},
	}
	if err := hub.Create(ctx, c); err != nil {
		t.Fatalf("creating Cluster %s: %v", name, err)
	}
	yes := true
	c.Status.Initialization.InfrastructureProvisioned = &yes
	if err := hub.Status().Update(ctx, c); err != nil {
		t.Fatalf("provisioning Cluster %s: %v", name, err)
	}
	return c
}

// clusterAPICRDs are the files of the CRDs of Cluster, MachineDeployment and ExtensionConfig in the
// module that go.mod names.
func clusterAPICRDs() ([]string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/cluster-api")
	cmd.Dir = root()
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("finding the module of Cluster API: %w", err)
	}
	bases := filepath.Join(strings.TrimSpace(string(out)), "core", "config", "crd", "bases")
	return []string{filepath.Join(bases, "cluster.x-k8s.io_clusters.yaml"), filepath.Join(bases, "cluster.x-k8s.io_machinedeployments.yaml"), filepath.Join(bases, "runtime.cluster.x-k8s.io_extensionconfigs.yaml")}, nil
}

// root is the repository's top folder.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

// Agents is the agents' DaemonSet of a workload cluster.
func (s *Server) Agents(ctx context.Context) (*appsv1.DaemonSet, error) {
	d := &appsv1.DaemonSet{}
	return d, s.Client.Get(ctx, client.ObjectKey{Namespace: "fairlead-system", Name: "fairlead-agent"}, d)
}
