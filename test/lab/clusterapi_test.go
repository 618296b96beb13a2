// SPDX-License-Identifier: Apache-2.0

//go:build lab

package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/test/lab/plan"
)

func clusterAPILab(t *testing.T) program {
	t.Helper()
	return programWith(t, "LAB_CLUSTERS=none", "LAB_CAPI=on")
}

// topology is a Cluster that names its ranges, because no operator runs here.
func topology(name string, number, workers int, version string) string {
	return fmt.Sprintf(`
apiVersion: cluster.x-k8s.io/v1beta2
kind: Cluster
metadata: {name: %[1]s, namespace: fleet, labels: {environment: lab}}
spec:
  clusterNetwork:
    pods: {cidrBlocks: [10.%[2]d.0.0/16, "fd00:%[2]d::/48"]}
    services: {cidrBlocks: [10.1%[2]d.0.0/16, "fd00:1%[2]d::/112"]}
  topology:
    classRef: {name: lab}
    version: %[4]s
    workers:
      machineDeployments:
      - {class: worker, name: md-0, replicas: %[3]d}
`, name, number, workers, version)
}

func (p program) apply(manifest string) {
	p.t.Helper()
	cmd := p.command("kubectl", "hub", "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("%v\n%s", err, out)
	}
}

// nodes waits until a cluster has so many nodes, each of them found by Cluster API, and no more machines.
func (p program) nodes(cluster string, want int) {
	p.t.Helper()
	start := time.Now()
	eventually(p.t, cluster, func() error {
		out, err := p.command("kubectl", "hub", "-n", "fleet", "get", "machines", "-l", "cluster.x-k8s.io/cluster-name="+cluster,
			"-o", "jsonpath={range .items[*]}{.metadata.name}={.status.nodeRef.name} {end}").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w", out, err)
		}
		machines := strings.Fields(string(out))
		found := slices.DeleteFunc(slices.Clone(machines), func(m string) bool { name, node, _ := strings.Cut(m, "="); return name != node })
		nodes, err := p.command("kubectl", cluster, "get", "nodes", "-o", "name").CombinedOutput()
		if have := len(strings.Fields(string(nodes))); err != nil || have != want || len(machines) != want || len(found) != want {
			return fmt.Errorf("%d nodes, machines %v: %w", have, machines, err)
		}
		return nil
	})
	p.t.Logf("%s has %d nodes after %s", cluster, want, time.Since(start).Round(100*time.Millisecond))
}

func (p program) born(cluster string) plan.Cluster {
	p.t.Helper()
	c, err := p.status().Cluster(cluster)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// A Cluster object becomes a cluster, changes with it and goes with it.
func TestClusterAPIMakesClusters(t *testing.T) {
	p := clusterAPILab(t)
	start := time.Now()
	p.run("up")
	t.Logf("lab up took %s", time.Since(start).Round(100*time.Millisecond))

	step := func(name string, f func(*testing.T)) { // One that fails leaves nothing for the next.
		if !t.Run(name, func(t *testing.T) { p.t = t; f(t) }) {
			t.FailNow()
		}
		p.t = t
	}
	step("a Cluster becomes a control plane and nodes", func(t *testing.T) {
		p.apply(topology("alpha", 64, 2, plan.DefaultKubernetes))
		p.nodes("alpha", 2)
	})
	step("nodes have the Cluster's ranges, and the API server a way to them", func(t *testing.T) {
		eventually(t, "ranges", func() error { // A node is registered a moment before it has some.
			ranges := p.run("kubectl", "alpha", "get", "nodes", "-o", "jsonpath={.items[*].spec.podCIDRs}")
			for _, want := range []string{"10.64.0.0/24", "10.64.1.0/24", "fd00:64::/64", "fd00:64:0:1::/64"} {
				if !strings.Contains(ranges, want) {
					return fmt.Errorf("%s is not in %q", want, ranges)
				}
			}
			return nil
		})
		eventually(t, "routes", func() error {
			routes := p.run("exec", "alpha-cp", "--", "ip", "route")
			if !strings.Contains(routes, "10.64.0.0/24 via 172.30.1.1") || !strings.Contains(routes, "10.64.1.0/24 via 172.30.1.1") {
				return fmt.Errorf("%s", routes)
			}
			return nil
		})
	})
	step("what is loaded is on nodes that are born later, before their kubelet starts", func(t *testing.T) {
		archive := filepath.Join(t.TempDir(), "image.tar")
		p.run("image", "-o", archive, "-t", "lab.test/late:1", "/etc/hostname:/file")
		p.run("load", archive)
		if err := os.Remove(archive); err != nil {
			t.Fatal(err)
		}
		p.run("kubectl", "hub", "-n", "fleet", "patch", "cluster", "alpha", "--type=json", "-p", scale(3))
		p.nodes("alpha", 3)
		for _, n := range p.born("alpha").Nodes {
			if out := p.run("exec", n.Name, "--", "ctr", "images", "ls", "-q"); !strings.Contains(out, "lab.test/late:1") {
				t.Errorf("%s has %s", n.Name, out)
			}
		}
	})
	step("machines that are killed come back as they were", func(t *testing.T) {
		c := p.born("alpha")
		for _, name := range []string{c.Nodes[0].Name, c.ControlPlane.Name, plan.ControlPlaneName(plan.HubName)} {
			p.run("kill-node", name)
			if pid := p.status().Running[name]; pid != 0 {
				t.Errorf("%s runs on as %d", name, pid)
			}
			p.run("start-node", name)
		}
		p.nodes("alpha", 3)
	})
	step("a supervisor that is killed while nodes go is replaced, and goes on", func(t *testing.T) {
		p.run("kubectl", "hub", "-n", "fleet", "patch", "cluster", "alpha", "--type=json", "-p", scale(1))
		s := p.status()
		dead := s.Running[p.born("alpha").ControlPlane.Name]
		for _, pid := range []int{s.Supervisor, dead} {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		p.run("up")
		p.nodes("alpha", 1)
		if ports := p.status().APIServers["alpha"]; ports != s.APIServers["alpha"] {
			t.Errorf("alpha was at %s and is at %s: kubeconfigs do not work any more", s.APIServers["alpha"], ports)
		}
		eventually(t, "machines", func() error {
			if c := p.born("alpha"); len(c.Nodes) != 1 {
				return fmt.Errorf("the lab has %d nodes of alpha", len(c.Nodes))
			}
			return nil
		})
	})
	step("a Cluster that is deleted leaves nothing", func(t *testing.T) {
		start := time.Now()
		p.run("kubectl", "hub", "-n", "fleet", "delete", "cluster", "alpha", "--timeout=90s")
		t.Logf("alpha went after %s", time.Since(start).Round(100*time.Millisecond))
		nothingIsLeft(t, p, "alpha")
	})
	id := p.status().ID
	p.run("down")
	left := processesOf(p.dir)
	for _, all := range hostState(t) {
		for _, one := range all {
			if strings.Contains(one, id) { // Another lab may run.
				left = append(left, one)
			}
		}
	}
	if _, err := os.Stat(p.dir); err == nil {
		left = append(left, p.dir)
	}
	if len(left) > 0 {
		t.Errorf("after lab down is left: %q", left)
	}
}

func scale(replicas int) string {
	return fmt.Sprintf(`[{"op": "replace", "path": "/spec/topology/workers/machineDeployments/0/replicas", "value": %d}]`, replicas)
}

func nothingIsLeft(t *testing.T, p program, cluster string) {
	t.Helper()
	s := p.status()
	if _, err := s.Cluster(cluster); err == nil {
		t.Errorf("the lab knows %s", cluster)
	}
	for _, pattern := range []string{
		filepath.Join(p.dir, "machines", cluster+"-*"), filepath.Join(p.dir, "kubeconfig", cluster+".yaml"),
		"/run/netns/fl" + s.ID + "-c*", "/sys/fs/cgroup/*/" + s.Cgroup + "/c[0-9]*",
	} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	raw, err := os.ReadFile(filepath.Join(p.dir, "births.json"))
	var births []plan.Birth
	if err == nil {
		err = json.Unmarshal(raw, &births)
	}
	if err != nil || len(births) > 0 {
		t.Errorf("the book has %+v, %v", births, err)
	}
	if out := p.run("kubectl", "hub", "-n", "fleet", "get", "labclusters,labmachines,labconfigs,labcontrolplanes,machines,secrets", "-o", "name"); out != "" {
		t.Errorf("objects are left: %s", out)
	}
}
