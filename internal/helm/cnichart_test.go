// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// cni renders the chart of the workload clusters.
func cni(t *testing.T, services map[string]any) map[string]string {
	t.Helper()
	c, err := Load(os.DirFS(filepath.Join("..", "..", "charts")), "cni")
	if err != nil {
		t.Fatal(err)
	}
	files, err := c.Render("r", "fairlead-system", map[string]any{
		"clusterName": "alpha", "apiServer": map[string]any{"host": "192.0.2.1"}, "services": services,
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// serviceArgs are the arguments of a container that have to do with Services.
func serviceArgs(c corev1.Container) []string {
	return slices.DeleteFunc(slices.Clone(c.Args), func(a string) bool {
		return !strings.HasPrefix(a, "--service")
	})
}

func TestServicesAreBalancedOnlyWhenEnabled(t *testing.T) {
	for _, c := range []struct {
		name              string
		services          map[string]any
		agent, controller []string
		cgroup            bool
	}{
		{name: "by default", services: map[string]any{}},
		{name: "enabled", services: map[string]any{"enabled": true, "forwarding": "DSR", "frontends": int64(1048576), "backends": int64(1024)},
			agent:      []string{"--services", "--service-forwarding=DSR", "--service-frontends=1048576", "--service-backends=1024"},
			controller: []string{"--services"}, cgroup: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := cni(t, c.services)
			agent := each[appsv1.DaemonSet](t, files["agent.yaml"], "DaemonSet")[0].Spec.Template.Spec
			controller := each[appsv1.Deployment](t, files["controller.yaml"], "Deployment")[0].Spec.Template.Spec
			if got := serviceArgs(agent.Containers[0]); !slices.Equal(got, c.agent) {
				t.Errorf("the agent gets %q", got)
			}
			if got := serviceArgs(controller.Containers[0]); !slices.Equal(got, c.controller) {
				t.Errorf("the controller gets %q", got)
			}
			mounted := slices.ContainsFunc(agent.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
				return m.Name == "cgroup" && m.MountPath == "/sys/fs/cgroup" && m.ReadOnly && *m.MountPropagation == corev1.MountPropagationHostToContainer
			})
			there := slices.ContainsFunc(agent.Volumes, func(v corev1.Volume) bool {
				return v.Name == "cgroup" && v.HostPath != nil && v.HostPath.Path == "/sys/fs/cgroup" && *v.HostPath.Type == corev1.HostPathDirectory
			})
			if mounted != c.cgroup || there != c.cgroup {
				t.Errorf("the cgroups are mounted: %t, and a volume: %t", mounted, there)
			}
		})
	}
}

// TestTwoAgentsFitOnANode: a pod that is there for a while beside another asks the node for
// nothing that there is once, and its own agent whether it has started. The template does not
// know of a surge, so that allowing one restarts no agent.
func TestTwoAgentsFitOnANode(t *testing.T) {
	c, err := Load(os.DirFS(filepath.Join("..", "..", "charts")), "cni")
	if err != nil {
		t.Fatal(err)
	}
	template := func(agent map[string]any) corev1.PodSpec {
		files, err := c.Render("r", "fairlead-system", map[string]any{
			"clusterName": "alpha", "apiServer": map[string]any{"host": "192.0.2.1"}, "agent": agent,
		})
		if err != nil {
			t.Fatal(err)
		}
		return each[appsv1.DaemonSet](t, files["agent.yaml"], "DaemonSet")[0].Spec.Template.Spec
	}
	pod := template(map[string]any{"maxSurge": int64(1)})
	if d := cmp.Diff(template(map[string]any{"maxSurge": int64(0)}), pod); d != "" {
		t.Errorf("a surge changes the template, and restarts agents:\n%s", d)
	}
	a := pod.Containers[0]
	for _, one := range slices.Concat(pod.InitContainers, pod.Containers) {
		if len(one.Ports) > 0 { // with hostNetwork they are ports of the node
			t.Errorf("container %s has ports of the node: %v", one.Name, one.Ports)
		}
	}
	if a.StartupProbe == nil || a.StartupProbe.Exec == nil || len(a.StartupProbe.Exec.Command) != 3 {
		t.Fatalf("its start is asked for by %v", a.StartupProbe)
	}
	socket := a.StartupProbe.Exec.Command[2]
	if !slices.Contains(a.Args, "--started-socket="+socket) {
		t.Errorf("%s is asked for, and the agent gets %q", socket, a.Args)
	}
	own := slices.ContainsFunc(a.VolumeMounts, func(m corev1.VolumeMount) bool {
		return m.MountPath == filepath.Dir(socket) && slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name && v.EmptyDir != nil })
	})
	if !own {
		t.Errorf("%s is in no folder of the pod's own", socket)
	}
}
