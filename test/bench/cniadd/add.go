// SPDX-License-Identifier: Apache-2.0

package cniadd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"

	"github.com/fairlead-io/fairlead/test/bench/process"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

const (
	// Adds is how many pods are added with each plugin, one after another.
	Adds = 200
	// PodsHeld is with how many pods the agent's memory is read: as many as a kubelet
	// takes by default.
	PodsHeld = 110
)

// readyWait bounds the agent's start; readyLook is how often it is asked.
const (
	readyWait = 20 * time.Second
	readyLook = 50 * time.Millisecond
)

// Result is what was measured.
type Result struct {
	Fairlead, Bridge []float64 // ms an ADD
	AgentMiB         float64   // resident, with PodsHeld pods
}

// runtimeOf is a container runtime's half of a plugin, on one machine.
type runtimeOf struct {
	machine *topo.Machine
	cni     *libcni.CNIConfig
	conf    *libcni.NetworkConfigList
	took    []float64
}

// Measure adds pods on two machines by turns, with Fairlead's plugin and with the bridge
// plugin, both from the folder of plugins. They go with the world.
func Measure(ctx context.Context, w *topo.World, dir, plugins string, say func(string, ...any)) (res Result, err error) {
	for _, p := range []string{"fairlead-agent", "fairlead-cni", "bridge", "host-local"} {
		if _, err := os.Stat(filepath.Join(plugins, p)); err != nil {
			return res, fmt.Errorf("program %s: %w (build it into the folder that -cni names)", p, err)
		}
	}
	ours, theirs, agent, err := prepare(ctx, w, dir, plugins)
	if err != nil {
		return res, err
	}
	defer agent.Stop()
	for i := range Adds {
		if i%50 == 0 {
			say("cni_add: pods %d to %d of %d", i+1, i+50, Adds)
		}
		if err := errors.Join(ours.add(ctx, w, i), theirs.add(ctx, w, i)); err != nil {
			return res, err
		}
		if i+1 == PodsHeld {
			if res.AgentMiB, err = agent.ResidentMiB(); err != nil {
				return res, err
			}
		}
	}
	res.Fairlead, res.Bridge = ours.took, theirs.took
	return res, nil
}

func prepare(ctx context.Context, w *topo.World, dir, plugins string) (ours, theirs *runtimeOf, agent *process.Process, err error) {
	var machines [2]*topo.Machine
	for i := range machines {
		if machines[i], err = w.Machine(); err != nil {
			return nil, nil, nil, err
		}
	}
	ours, err = newRuntime(machines[0], filepath.Join(dir, "fairlead"), plugins, `{"type":"fairlead-cni","socket":%q}`, filepath.Join(dir, "fairlead", socketFile))
	if err != nil {
		return nil, nil, nil, err
	}
	// IPv4 only, and no masquerade: the plugin waits for IPv6 addresses to settle, and
	// its masquerade runs iptables.
	theirs, err = newRuntime(machines[1], filepath.Join(dir, "bridge"), plugins,
		`{"type":"bridge","bridge":"cni0","isGateway":true,"ipam":{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":"10.244.1.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}`,
		filepath.Join(dir, "bridge", "ipam"))
	if err != nil {
		return nil, nil, nil, err
	}
	if err := saveState(filepath.Join(dir, "fairlead", stateDir), machines[0], PodsHeld); err != nil {
		return nil, nil, nil, err
	}
	bpffs, err := w.MountBPF("agent")
	if err != nil {
		return nil, nil, nil, err
	}
	if agent, err = startAgent(filepath.Join(plugins, "fairlead-agent"), machines[0], filepath.Join(dir, "fairlead"), bpffs); err != nil {
		return nil, nil, nil, err
	}
	if err := ours.awaitReady(ctx, agent); err != nil {
		agent.Stop()
		return nil, nil, nil, err
	}
	return ours, theirs, agent, nil
}

func newRuntime(m *topo.Machine, dir, plugins, pluginFormat, path string) (*runtimeOf, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	conf, err := libcni.ConfListFromBytes([]byte(fmt.Sprintf(`{"cniVersion":"1.0.0","name":"bench","plugins":[`+pluginFormat+`]}`, path)))
	if err != nil {
		return nil, fmt.Errorf("network configuration: %w", err)
	}
	exec := &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: os.Stderr}}
	return &runtimeOf{machine: m, conf: conf, cni: libcni.NewCNIConfigWithCacheDir([]string{plugins}, filepath.Join(dir, "cache"), exec)}, nil
}

// awaitReady waits until the agent would serve an ADD.
func (r *runtimeOf) awaitReady(ctx context.Context, agent *process.Process) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	status := *r.conf
	status.CNIVersion = "1.1.0" // the first one that has STATUS
	for {
		err := r.cni.GetStatusNetworkList(ctx, &status)
		if err == nil {
			return nil
		}
		if ended := agent.Running(); ended != nil {
			return ended
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the agent was not ready after %v: %w", readyWait, err)
		case <-time.After(readyLook):
		}
	}
}

// add makes a pod and connects it.
func (r *runtimeOf) add(ctx context.Context, w *topo.World, i int) error {
	pod, err := w.Pod()
	if err != nil {
		return err
	}
	rt := &libcni.RuntimeConf{
		ContainerID: podName(i), NetNS: pod.Path(), IfName: "eth0",
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "bench"}, {"K8S_POD_NAME", podName(i)}},
	}
	return r.machine.Do(func() error { // a plugin runs where its parent's thread is
		start := time.Now()
		if _, err := r.cni.AddNetworkList(ctx, r.conf, rt); err != nil {
			return fmt.Errorf("%s: ADD %d: %w", r.conf.Plugins[0].Network.Type, i+1, err)
		}
		r.took = append(r.took, float64(time.Since(start).Microseconds())/1e3)
		return nil
	})
}
