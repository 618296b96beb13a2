// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-io/fairlead/internal/cli/agents"
	"github.com/fairlead-io/fairlead/internal/cli/services"
)

func newServiceCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "service", Aliases: []string{"services", "svc"}, Short: "See how Services are balanced"}
	list := &cobra.Command{
		Use:   "list",
		Short: "List Services with their addresses and endpoints, and the nodes that differ",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.listServices(cmd) },
	}
	trace := &cobra.Command{
		Use:   "trace SERVICE|ADDRESS[:PORT]",
		Short: "Show the backends of a Service, their states, and which node thinks what",
		Example: `  fairleadctl service trace shop/web
  fairleadctl service trace web --namespace shop
  fairleadctl service trace 10.96.0.10:53
  fairleadctl service trace [fd00:50::a] --node worker-3 -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.traceService(cmd, args[0]) },
	}
	f := cmd.PersistentFlags()
	f.StringVar(&o.system, "system-namespace", defaultNamespace, "namespace of Fairlead's agents")
	f.StringVar(&o.node, "node", "", "ask the agent of this node only")
	f.DurationVar(&o.timeout, "agent-timeout", 10*time.Second, "how long an agent may take to answer")
	cmd.AddCommand(list, trace)
	return cmd
}

func (o *options) listServices(cmd *cobra.Command) error {
	answers, err := o.ask(cmd.Context(), "/services")
	if err != nil {
		return err
	}
	rows, failed := services.List(answers)
	if o.kube.Namespace != nil && *o.kube.Namespace != "" {
		rows = inNamespace(rows, *o.kube.Namespace)
	}
	err = o.print(cmd.OutOrStdout(), rows, func(w io.Writer) error { return services.PrintList(w, rows) })
	return errors.Join(err, unanswered(failed))
}

func inNamespace(rows []services.Row, namespace string) (out []services.Row) {
	for _, r := range rows {
		if r.Namespace == namespace {
			out = append(out, r)
		}
	}
	return out
}

// unanswered names the nodes that are missing in what was printed.
func unanswered(failed []agents.Answer) error {
	var errs []error
	for _, a := range failed {
		errs = append(errs, fmt.Errorf("node %s: %w", a.Node, a.Err))
	}
	return errors.Join(errs...)
}

func (o *options) traceService(cmd *cobra.Command, what string) (err error) {
	namespace, name, err := o.find(cmd, what)
	if err != nil {
		return err
	}
	answers, err := o.ask(cmd.Context(), "/services/"+url.PathEscape(namespace)+"/"+url.PathEscape(name))
	if err != nil {
		return err
	}
	views := services.Trace(answers)
	if !slices.ContainsFunc(views, func(v services.NodeView) bool { return v.View != nil }) {
		defer func() {
			err = errors.Join(err, fmt.Errorf("no node knows Service %s/%s: is the name right, has it a cluster IP, and does Fairlead balance Services on this cluster (spec.cni.kubeProxyReplacement)?", namespace, name))
		}()
	}
	return o.print(cmd.OutOrStdout(), views, func(w io.Writer) error {
		fmt.Fprintf(w, "Service %s/%s\n\n", namespace, name) //nolint:errcheck // PrintTrace says
		return services.PrintTrace(w, views)
	})
}

// find turns a name or an address into a Service's name.
func (o *options) find(cmd *cobra.Command, what string) (namespace, name string, err error) {
	address, port, isAddress, err := parseAddress(what)
	if err != nil {
		return "", "", err
	}
	if !isAddress {
		if namespace, name, ok := strings.Cut(what, "/"); ok {
			return namespace, name, nil
		}
		namespace, _, err := o.kube.ToRawKubeConfigLoader().Namespace()
		return namespace, what, err
	}
	answers, err := o.ask(cmd.Context(), "/services")
	if err != nil {
		return "", "", err
	}
	rows, failed := services.List(answers)
	for _, r := range rows {
		for _, f := range r.Frontends {
			if f.Address == address.String() && (port == 0 || f.Port == port) {
				return r.Namespace, r.Name, nil
			}
		}
	}
	return "", "", errors.Join(fmt.Errorf("no node knows a Service at %s; `fairleadctl service list` shows all addresses", what), unanswered(failed))
}

// parseAddress reads an address, with or without a port; anything else is a name.
func parseAddress(what string) (a netip.Addr, port uint16, ok bool, err error) {
	if ap, err := netip.ParseAddrPort(what); err == nil {
		return ap.Addr().Unmap(), ap.Port(), true, nil
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(what, "["), "]")
	if a, err := netip.ParseAddr(bare); err == nil {
		return a.Unmap(), 0, true, nil
	}
	if strings.Contains(what, ":") {
		return a, 0, false, fmt.Errorf("%q is neither a Service's name (NAMESPACE/NAME) nor an address (10.96.0.10, 10.96.0.10:53, [fd00::a]:53)", what)
	}
	return a, 0, false, nil
}
