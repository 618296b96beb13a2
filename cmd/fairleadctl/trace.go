// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-io/fairlead/internal/cli/agents"
	"github.com/fairlead-io/fairlead/internal/cli/trace"
)

func newTraceCommand(o *options) *cobra.Command {
	var protocol string
	cmd := &cobra.Command{
		Use:   "trace POD|NAMESPACE/POD|ADDRESS POD|NAMESPACE/POD|ADDRESS[:PORT]",
		Short: "Explain what network policies make of a connection, rule by rule, on both ends",
		Example: `  fairleadctl trace shop/web shop/db:5432
  fairleadctl trace web 192.0.2.10:443 --namespace shop
  fairleadctl trace shop/web [fd00::5]:53 --protocol udp -o json
  fairleadctl trace shop/web shop/db --protocol icmp`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.trace(cmd, args[0], args[1], protocol)
		},
	}
	f := cmd.Flags()
	f.StringVar(&protocol, "protocol", "tcp", "tcp, udp, sctp, icmp, icmpv6 or a number")
	f.StringVar(&o.system, "system-namespace", defaultNamespace, "namespace of Fairlead's agents")
	f.DurationVar(&o.timeout, "agent-timeout", 10*time.Second, "how long an agent may take to answer")
	return cmd
}

func (o *options) trace(cmd *cobra.Command, from, to, protocol string) error {
	if err := o.checkOutput(); err != nil {
		return err
	}
	c, err := o.connection(cmd.Context(), from, to, protocol)
	if err != nil {
		return err
	}
	egress, ingress := c.Questions()
	var sides [2]*trace.Side
	var asking sync.WaitGroup
	for i, q := range []*trace.Question{egress, ingress} {
		if q == nil {
			continue
		}
		asking.Go(func() {
			s := trace.SideOf(o.askNode(cmd.Context(), q.Node, q.Path))
			sides[i] = &s
		})
	}
	asking.Wait()
	r := trace.Of(c, sides[0], sides[1])
	if err := o.print(cmd.OutOrStdout(), r, func(w io.Writer) error { return trace.Print(w, r) }); err != nil {
		return err
	}
	if r.Differs {
		return errors.New("the kernel's rows and the policies differ")
	}
	if r.Unknown {
		return errors.New("not everybody has answered")
	}
	return nil
}

// askNode sends a request to one node's agent.
func (o *options) askNode(ctx context.Context, node, path string) ([]agents.Answer, error) {
	cfg, err := o.kube.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	return agents.Ask(ctx, cfg, agents.Options{Namespace: o.system, Node: node, Timeout: o.timeout}, path)
}

// connection finds both ends of what is asked about.
func (o *options) connection(ctx context.Context, from, to, protocol string) (c trace.Connection, err error) {
	if c.Protocol, err = trace.ParseProtocol(protocol); err != nil {
		return c, err
	}
	namespace, err := o.namespace()
	if err != nil {
		return c, err
	}
	source, err := trace.ParseTarget(from, namespace)
	if err != nil {
		return c, err
	}
	dest, err := trace.ParseTarget(to, namespace)
	if err != nil {
		return c, err
	}
	cfg, err := o.kube.ToRESTConfig()
	if err != nil {
		return c, err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return c, err
	}
	if c.From, err = trace.Find(ctx, client, source); err != nil {
		return c, err
	}
	if c.To, err = trace.Find(ctx, client, dest); err != nil {
		return c, err
	}
	c.Port = dest.Port
	return c, c.Check()
}
