// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"github.com/fairlead-io/fairlead/test/lab/atomicfile"
	"github.com/fairlead-io/fairlead/test/lab/node"
	"github.com/fairlead-io/fairlead/test/lab/pki"
	"github.com/fairlead-io/fairlead/test/lab/plan"
)

//go:embed templates
var templates embed.FS

// PauseImage is the sandbox image of every pod in the lab.
const PauseImage = "fairlead.io/lab/pause:1"

// CoreDNSImage is the cluster DNS server of the workload clusters.
const CoreDNSImage = "fairlead.io/lab/coredns:1"

// ImagesLoaded is the file on a node's disk that says that it has the images that it begins with.
const ImagesLoaded = "/var/lib/lab-images/loaded"

// Masked are sysctls of the whole host that a kubelet writes, with the values that it wants to see.
var Masked = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// noCNI lets the hub's node become ready without a CNI: pods there use the host's network. The
// plugin does not exist, and its name is what people see when they try another kind of pod there.
const noCNI = `{"cniVersion":"1.0.0","name":"none","plugins":[{"type":"the-hub-runs-only-pods-with-hostNetwork"}]}` + "\n"

// Worker writes a node's configuration and returns its services.
func Worker(c plan.Cluster, m plan.Machine, ca *pki.Authority, snapshotter string) ([]node.Service, error) {
	spec := node.Spec{Dir: m.Dir}
	dir := spec.Config()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	data := map[string]any{"Cluster": c, "Node": m, "Pause": PauseImage, "Snapshotter": snapshotter, "PodCIDRs": join(c.PodCIDRs)}
	configs := []string{"containerd.toml", "kubelet.yaml"}
	if c.Hub {
		configs = append(configs, "kube-proxy.yaml")
	}
	for _, name := range configs {
		if err := render(filepath.Join(dir, name), name, data); err != nil {
			return nil, err
		}
	}
	if err := atomicfile.Update(filepath.Join(dir, "ca.crt"), ca.Cert, 0o644); err != nil {
		return nil, err
	}
	identity := pki.Request{CommonName: "system:node:" + m.Name, Organizations: []string{"system:nodes"}}
	if _, err := userKubeconfig(ca, c.Name, dir, "kubelet", c.APIURL(), identity); err != nil {
		return nil, err
	}
	if c.Hub {
		if _, err := userKubeconfig(ca, c.Name, dir, "kube-proxy", c.APIURL(), pki.Request{CommonName: "system:kube-proxy"}); err != nil {
			return nil, err
		}
		conf := spec.Disk("etc/cni/net.d")
		if err := os.MkdirAll(conf, 0o755); err != nil {
			return nil, err
		}
		if err := atomicfile.Update(filepath.Join(conf, "99-none.conflist"), []byte(noCNI), 0o644); err != nil {
			return nil, err
		}
	}
	return workerServices(c, m), nil
}

func workerServices(c plan.Cluster, m plan.Machine) []node.Service {
	config := func(name string) string { return filepath.Join(node.ConfigDir, name) }
	services := []node.Service{
		{Name: "containerd", Argv: []string{filepath.Join(node.BinDir, "containerd"), "--config=" + config("containerd.toml")}},
		{Name: "kubelet", Argv: []string{
			filepath.Join(node.BinDir, "kubelet"), "--config=" + config("kubelet.yaml"), "--kubeconfig=" + config("kubelet.kubeconfig"),
			"--hostname-override=" + m.Name, fmt.Sprintf("--node-ip=%s,%s", m.IPv4, m.IPv6),
			"--root-dir=/var/lib/kubelet", "--cert-dir=/var/lib/kubelet/pki", "--v=1",
		}},
	}
	if c.Born { // Nobody loads images on it later, and nothing pulls them.
		services[1].After = ImagesLoaded
	}
	if c.Hub { // Workload clusters have it as a DaemonSet, if at all.
		services = append(services, node.Service{
			Name: "kube-proxy", Argv: []string{filepath.Join(node.BinDir, "kube-proxy"), "--config=" + config("kube-proxy.yaml")},
		})
	}
	return services
}

func render(path, name string, data any) error {
	t, err := template.ParseFS(templates, "templates/"+name)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return err
	}
	return atomicfile.Update(path, out.Bytes(), 0o644)
}
