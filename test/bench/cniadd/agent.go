// SPDX-License-Identifier: Apache-2.0

package cniadd

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/fairlead-io/fairlead/internal/state"
	"github.com/fairlead-io/fairlead/test/bench/process"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

// Files of an agent, below its folder.
const (
	socketFile = "cni.sock"
	stateDir   = "state"
)

const clusterName = "bench"

// command is the agent's program on a machine, without a controller: what it would need
// for one is not there.
func command(program string, m *topo.Machine, dir, bpffs string) (*exec.Cmd, error) {
	kubeconfig := filepath.Join(dir, "kubeconfig")
	// The port is closed in the node's namespace: the agent is on its own.
	cluster := "{apiVersion: v1, kind: Config, clusters: [{name: a, cluster: {server: 'http://127.0.0.1:6443'}}], contexts: [{name: a, context: {cluster: a}}], current-context: a}"
	if err := os.WriteFile(kubeconfig, []byte(cluster), 0o600); err != nil {
		return nil, err
	}
	nothing := filepath.Join(dir, "none")
	return exec.Command(program,
		"--node-name="+m.Name, "--cluster-name="+clusterName, "--kubeconfig="+kubeconfig,
		"--state-dir="+filepath.Join(dir, stateDir), "--socket="+filepath.Join(dir, socketFile), "--bpffs="+bpffs,
		"--trust-bundle="+nothing, "--token-file="+nothing, "--cni-plugin=", "--cni-bin-dir="+dir, "--cni-conf-dir="+dir,
		"--log-level=warn",
	), nil
}

// saveState writes the file that an agent starts on while no controller answers: one
// header line, a delta response a type, and the SHA-256 of all before it.
func saveState(dir string, m *topo.Machine, pods int) error {
	local := &state.LocalNode{
		Name: m.Name, PodCidrs: text(m.PodCIDRs), Addresses: text(m.Addresses), ClusterPodCidrs: []string{"10.244.0.0/16", "fd00:10:244::/48"},
	}
	peer := &state.PeerNode{Name: m.Name, PodCidrs: text(m.PodCIDRs), Addresses: text(m.Addresses)}
	endpoints := map[string]proto.Message{}
	for i := range pods {
		name := podName(i)
		endpoints["bench/"+name] = &state.Endpoint{Namespace: "bench", Name: name, Uid: name}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "fairlead-agent-state v1 cluster=%q node=%q\n", clusterName, m.Name)
	for _, resources := range []map[string]proto.Message{{m.Name: local}, {m.Name: peer}, endpoints} {
		if err := writeResources(&b, resources); err != nil {
			return fmt.Errorf("the agent's state: %w", err)
		}
	}
	if _, err := protodelim.MarshalTo(&b, &discovery.DeltaDiscoveryResponse{TypeUrl: state.AnnouncementType}); err != nil { // none
		return fmt.Errorf("the agent's state: %w", err)
	}
	sum := sha256.Sum256(b.Bytes())
	b.Write(sum[:])
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "state.pb"), b.Bytes(), 0o600)
}

// writeResources writes a type's resources as a controller would send them.
func writeResources(w io.Writer, resources map[string]proto.Message) error {
	r := &discovery.DeltaDiscoveryResponse{}
	for name, m := range resources {
		body, err := anypb.New(m)
		if err != nil {
			return err
		}
		r.TypeUrl = body.TypeUrl
		r.Resources = append(r.Resources, &discovery.Resource{Name: name, Version: "1", Resource: body})
	}
	_, err := protodelim.MarshalTo(w, r)
	return err
}

func text[T netip.Addr | netip.Prefix](list []T) []string {
	var out []string
	for _, v := range list {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

func podName(i int) string { return fmt.Sprint("pod-", i) }

// startAgent runs an agent on a machine.
func startAgent(program string, m *topo.Machine, dir, bpffs string) (*process.Process, error) {
	cmd, err := command(program, m, dir, bpffs)
	if err != nil {
		return nil, fmt.Errorf("the agent's files: %w", err)
	}
	return process.Start(m.NS, cmd)
}
