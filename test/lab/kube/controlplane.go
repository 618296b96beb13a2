// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/fairlead-io/fairlead/test/lab/atomicfile"
	"github.com/fairlead-io/fairlead/test/lab/node"
	"github.com/fairlead-io/fairlead/test/lab/pki"
	"github.com/fairlead-io/fairlead/test/lab/plan"
)

// The API server listens on all addresses of its machine, so loopback serves its neighbours there.
const loopbackAPI = "https://127.0.0.1:6443"

// Credentials are what people and nodes need to reach a cluster.
type Credentials struct {
	CA    *pki.Authority
	Admin pki.Pair
}

// ControlPlane writes the control plane's configuration and returns its services.
func ControlPlane(c plan.Cluster) ([]node.Service, Credentials, error) {
	config := node.Spec{Dir: c.ControlPlane.Dir}.Config()
	credentials, err := controlPlanePKI(c, config)
	if err != nil {
		return nil, Credentials{}, fmt.Errorf("%s: cannot make the certificates: %w", c.Name, err)
	}
	return []node.Service{etcd(), apiServer(c), controllerManager(c), scheduler()}, credentials, nil
}

func controlPlanePKI(c plan.Cluster, dir string) (Credentials, error) {
	ca, err := pki.LoadAuthority(dir, "ca")
	if err != nil {
		return Credentials{}, err
	}
	front, err := pki.LoadAuthority(dir, "front-proxy-ca")
	if err != nil {
		return Credentials{}, err
	}
	if err := pki.LoadSigningKey(dir, "sa"); err != nil {
		return Credentials{}, err
	}
	if _, err := front.Issue(dir, "front-proxy", pki.Request{CommonName: "front-proxy"}); err != nil {
		return Credentials{}, err
	}
	if _, err := ca.Issue(dir, "apiserver", serverRequest(c)); err != nil {
		return Credentials{}, err
	}
	masters := []string{"system:masters"}
	if _, err := ca.Issue(dir, "kubelet-client", pki.Request{CommonName: "apiserver-kubelet-client", Organizations: masters}); err != nil {
		return Credentials{}, err
	}
	for _, user := range []string{"kube-controller-manager", "kube-scheduler"} {
		if _, err := userKubeconfig(ca, c.Name, dir, user, loopbackAPI, pki.Request{CommonName: "system:" + user}); err != nil {
			return Credentials{}, err
		}
	}
	admin, err := ca.Issue(dir, "admin", pki.Request{CommonName: "admin", Organizations: masters})
	return Credentials{CA: ca, Admin: admin}, err
}

func serverRequest(c plan.Cluster) pki.Request {
	r := pki.Request{
		CommonName: "kube-apiserver",
		DNSNames:   []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		IPs:        []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, ip := range append(c.KubernetesServiceIPs(), c.ControlPlane.IPv4, c.ControlPlane.IPv6) {
		r.IPs = append(r.IPs, ip.AsSlice())
	}
	return r
}

// userKubeconfig issues a user's certificate and writes name.kubeconfig with it.
func userKubeconfig(ca *pki.Authority, cluster, dir, name, server string, r pki.Request) (pki.Pair, error) {
	pair, err := ca.Issue(dir, name, r)
	if err != nil {
		return pair, err
	}
	raw, err := pki.Kubeconfig(cluster, r.CommonName, server, ca.Cert, pair)
	if err != nil {
		return pair, err
	}
	return pair, atomicfile.Update(filepath.Join(dir, name+".kubeconfig"), raw, 0o600)
}

func etcd() node.Service {
	return node.Service{Name: "etcd", Argv: []string{
		filepath.Join(node.BinDir, "etcd"), "--data-dir=/var/lib/etcd", "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380",
	}}
}

func apiServer(c plan.Cluster) node.Service {
	f := func(name string) string { return filepath.Join(node.ConfigDir, name) }
	return node.Service{Name: "kube-apiserver", Argv: []string{
		filepath.Join(node.BinDir, "kube-apiserver"),
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=::", "--advertise-address=" + c.ControlPlane.IPv4.String(), fmt.Sprintf("--secure-port=%d", plan.APIPort),
		"--tls-cert-file=" + f("apiserver.crt"), "--tls-private-key-file=" + f("apiserver.key"), "--client-ca-file=" + f("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + f("sa.pub"), "--service-account-signing-key-file=" + f("sa.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--service-cluster-ip-range=" + join(c.ServiceCIDRs),
		"--kubelet-client-certificate=" + f("kubelet-client.crt"), "--kubelet-client-key=" + f("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + f("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + f("front-proxy.crt"), "--proxy-client-key-file=" + f("front-proxy.key"),
		"--profiling=false",
	}}
}

func controllerManager(c plan.Cluster) node.Service {
	f := func(name string) string { return filepath.Join(node.ConfigDir, name) }
	kubeconfig := f("kube-controller-manager.kubeconfig")
	return node.Service{Name: "kube-controller-manager", Argv: []string{
		filepath.Join(node.BinDir, "kube-controller-manager"),
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--service-account-private-key-file=" + f("sa.key"), "--root-ca-file=" + f("ca.crt"),
		"--cluster-signing-cert-file=" + f("ca.crt"), "--cluster-signing-key-file=" + f("ca.key"),
		"--use-service-account-credentials=true", "--leader-elect=false", "--bind-address=127.0.0.1",
		"--allocate-node-cidrs=true", "--cluster-cidr=" + join(c.PodCIDRs), "--service-cluster-ip-range=" + join(c.ServiceCIDRs),
		"--node-cidr-mask-size-ipv4=24", "--node-cidr-mask-size-ipv6=64",
		"--profiling=false",
	}}
}

func scheduler() node.Service {
	kubeconfig := filepath.Join(node.ConfigDir, "kube-scheduler.kubeconfig")
	return node.Service{Name: "kube-scheduler", Argv: []string{
		filepath.Join(node.BinDir, "kube-scheduler"),
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false",
	}}
}

func join(prefixes []netip.Prefix) string {
	var s []string
	for _, p := range prefixes {
		s = append(s, p.String())
	}
	return strings.Join(s, ",")
}
