// SPDX-License-Identifier: Apache-2.0

package policyscale

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/fairlead-io/fairlead/internal/state"
)

// The environment of the process of agents: where the controller is, and how many they are.
const (
	agentsOf    = "FAIRLEAD_POLICYSCALE_SERVER"
	agentsCount = "FAIRLEAD_POLICYSCALE_AGENTS"
	// nodeKey is the metadata by which an agent says which node it is.
	nodeKey = "node"
)

func TestMain(m *testing.M) {
	if server := os.Getenv(agentsOf); server != "" {
		if err := agents(server, os.Getenv(agentsCount)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// startAgents starts agents in a process of their own, which ends with the test.
func startAgents(t *testing.T, server string, n int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), agentsOf+"="+server, agentsCount+"="+strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the agents: %v", err)
		}
	})
}

// agents are n agents until standard input ends.
func agents(server, n string) error {
	count, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	var all errgroup.Group
	for i := range count {
		all.Go(func() error {
			if err := agent(ctx, server, node(i)); err != nil && ctx.Err() == nil {
				cancel()
				return fmt.Errorf("%s: %w", node(i), err)
			}
			return nil
		})
	}
	return all.Wait()
}

// agent subscribes to policies, and acknowledges.
func agent(ctx context.Context, server, name string) (err error) {
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ads, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(metadata.AppendToOutgoingContext(ctx, nodeKey, name))
	if err != nil {
		return err
	}
	err = ads.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: state.PolicyType, ResourceNamesSubscribe: []string{"*"}, Node: &core.Node{Id: name}})
	for err == nil {
		var r *discovery.DeltaDiscoveryResponse
		if r, err = ads.Recv(); err == nil {
			err = ads.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
		}
	}
	return err
}
