// SPDX-License-Identifier: Apache-2.0

package services

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/internal/enroll"
	"github.com/fairlead-io/fairlead/test/bench/process"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

const (
	agentAddr   = "127.0.0.1:9442"
	agentMemory = "90MiB" // as the chart has it
)

// agent is a node of Fairlead's with a real agent, which a real controller tells of the
// Services. Its clients are processes of the node, in a cgroup.
type agent struct {
	cluster             *cluster
	machine             *topo.Machine
	bin, dir, bpffs     string
	cgroup              string
	controller, process *process.Process
}

// newAgent makes the n-th such node, and starts the controller. The agent is not started.
func newAgent(ctx context.Context, w *topo.World, c *cluster, bin string, n int) (a *agent, err error) {
	a = &agent{cluster: c, bin: bin}
	if a.machine, err = w.Machine(); err != nil {
		return nil, err
	}
	a.dir = filepath.Join(c.dir, a.machine.Name)
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return nil, err
	}
	if a.bpffs, err = w.MountBPF("agent-" + a.machine.Name); err != nil {
		return nil, err
	}
	// Other subjects' nodes have a range in common: they know nothing of each other.
	pods := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(200 + n), 0}), 24)
	if err := c.addNode(ctx, a.machine, pods); err != nil {
		return nil, err
	}
	if err := a.writeToken(ctx); err != nil {
		return nil, err
	}
	if a.cgroup, err = makeCgroup(a.machine.Name); err != nil {
		return nil, err
	}
	if a.controller, err = c.startController(ctx, bin); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *agent) tokenFile() string { return filepath.Join(a.dir, "token") }

// writeToken has the API server issue the token that a kubelet would project into the
// agent's pod.
func (a *agent) writeToken(ctx context.Context) error {
	pod, err := a.cluster.createPod(ctx, "fairlead-agent-"+a.machine.Name, a.machine.Name, nil)
	if err != nil {
		return err
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences:      []string{enroll.Audience},
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}}
	got, err := a.cluster.client.CoreV1().ServiceAccounts(systemNamespace).CreateToken(ctx, agentAccount, request, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("token of ServiceAccount %s: %w", agentAccount, err)
	}
	return os.WriteFile(a.tokenFile(), []byte(got.Status.Token), 0o600)
}

// start starts the agent and returns once a number of Services, and the API server's own,
// are in force.
func (a *agent) start(ctx context.Context, size int) error {
	cmd := exec.Command(filepath.Join(a.bin, "fairlead-agent"),
		"--services", "--node-name="+a.machine.Name, "--cluster-name="+clusterName, "--namespace="+systemNamespace,
		"--kubeconfig="+a.cluster.kubeconfig(), "--state-dir="+filepath.Join(a.dir, "state"), "--socket="+filepath.Join(a.dir, "cni.sock"),
		"--bpffs="+a.bpffs, "--cgroup-root="+a.cgroup, "--trust-bundle="+a.cluster.rootsFile(), "--token-file="+a.tokenFile(),
		"--cni-plugin=", "--cni-bin-dir="+a.dir, "--cni-conf-dir="+a.dir, "--health="+agentAddr, "--log-level=warn")
	cmd.Env = append(os.Environ(), "GOMEMLIMIT="+agentMemory)
	p, err := process.Start(a.machine.NS, cmd)
	if err != nil {
		return err
	}
	a.process = p
	err = poll(ctx, syncWithin, 20*time.Millisecond, p.Running, func() error {
		m, err := a.metrics(ctx)
		if err == nil && (m.services < size+1 || m.updates == 0) {
			err = fmt.Errorf("%d of %d Services after %d updates", m.services, size+1, m.updates)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("the agent: %w", err)
	}
	return nil
}

// agentMetrics are what the agent says of Services.
type agentMetrics struct {
	services int
	updates  int
	updating time.Duration // all updates together
}

func (a *agent) metrics(ctx context.Context) (m agentMetrics, err error) {
	b, err := get(ctx, a.machine.Space, "http://"+agentAddr+"/metrics")
	if err != nil {
		return m, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(b))
	if err != nil {
		return m, fmt.Errorf("the agent's metrics: %w", err)
	}
	for _, one := range families["fairlead_agent_services"].GetMetric() {
		m.services = int(one.GetGauge().GetValue())
	}
	for _, one := range families["fairlead_agent_service_update_seconds"].GetMetric() {
		m.updates += int(one.GetHistogram().GetSampleCount())
		m.updating += time.Duration(one.GetHistogram().GetSampleSum() * float64(time.Second))
	}
	return m, nil
}

// follower is a process of the node, whose sockets are in the agent's cgroup.
func (a *agent) follower() follower {
	const pause = 100 * time.Millisecond
	return follower{a.machine.Space, a.cluster.machine.Space, a.cluster.machine.Addresses[0], pause, a.running}
}

func (a *agent) running() error { return errors.Join(a.process.Running(), a.controller.Running()) }

// close ends the programs. What the agent made goes with the node.
func (a *agent) close() error {
	for _, p := range []*process.Process{a.process, a.controller} {
		if p != nil {
			p.Stop()
		}
	}
	return os.Remove(a.cgroup)
}
