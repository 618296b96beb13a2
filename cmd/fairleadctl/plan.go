// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/fairlead-io/fairlead/internal/cli/hub"
	"github.com/fairlead-io/fairlead/internal/cli/manifest"
	"github.com/fairlead-io/fairlead/internal/cli/preview"
)

// exitChanges is the exit code of `fairleadctl plan --exit-code` when something would change.
const exitChanges = 2

// planOptions are those of `fairleadctl plan`.
type planOptions struct {
	*options
	file, manager string
	exitCode      bool
}

func newPlanCommand(common *options) *cobra.Command {
	o := &planOptions{options: common}
	cmd := &cobra.Command{
		Use:   "plan --filename FILE",
		Short: "Show, wave by wave, what applying a NetworkStack would do to each cluster",
		Long: `Show, wave by wave, what applying a NetworkStack would do to each cluster. Nothing is changed.

The file is read strictly, and the API server checks it by a dry run: who runs this needs the right to
patch NetworkStacks, and to list NetworkStacks, ClusterStacks and Clusters.

Exit codes: 0, or 1 for an error, which a spec that the operator would refuse is. With --exit-code 2 when clusters would change.`,
		Example: `  fairleadctl plan -f production.yaml
  git show HEAD:production.yaml | fairleadctl plan -f - -o json`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.file, "filename", "f", "", "file with the NetworkStack; - for standard input")
	f.StringVar(&o.manager, "field-manager", "", "who will apply the file (default: who applied the stack that is there, or kubectl)")
	f.BoolVar(&o.exitCode, "exit-code", false, "exit with 2 when clusters would change")
	_ = cmd.MarkFlagRequired("filename")
	return cmd
}

func (o *planOptions) run(cmd *cobra.Command) error {
	if err := o.checkOutput(); err != nil {
		return err
	}
	documents, err := o.read(cmd)
	if err != nil {
		return err
	}
	client, err := o.hub()
	if err != nil {
		return err
	}
	results := make([]*preview.Result, 0, len(documents))
	for _, d := range documents {
		r, err := o.one(cmd, client, d)
		if err != nil {
			return err
		}
		results = append(results, r)
	}
	err = o.print(cmd.OutOrStdout(), results, func(w io.Writer) error {
		for i, r := range results {
			if i > 0 {
				fmt.Fprintln(w) //nolint:errcheck // Print says
			}
			if err := preview.Print(w, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return o.outcome(results)
}

func (o *planOptions) read(cmd *cobra.Command) ([]manifest.Document, error) {
	var data []byte
	var err error
	if o.file == "-" {
		data, err = io.ReadAll(cmd.InOrStdin())
	} else {
		data, err = os.ReadFile(o.file)
	}
	if err != nil {
		return nil, fmt.Errorf("--filename: %w", err)
	}
	documents, err := manifest.Read(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.file, err)
	}
	return documents, nil
}

// one previews one document, in its namespace or that of the command line.
func (o *planOptions) one(cmd *cobra.Command, client *hub.Client, d manifest.Document) (*preview.Result, error) {
	namespace, asked, err := o.kube.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, err
	}
	if own := d.Stack.Namespace; own != "" {
		if asked && own != namespace {
			return nil, fmt.Errorf("%s: NetworkStack %s is of namespace %s and not of %s: leave --namespace out, or correct metadata.namespace", o.file, d.Stack.Name, own, namespace)
		}
		namespace = own
	}
	in, err := client.Preview(cmd.Context(), namespace, d.Stack.Name, d.JSON, o.manager)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.file, err)
	}
	return preview.Make(in)
}

func (o *planOptions) outcome(results []*preview.Result) error {
	changes := false
	for _, r := range results {
		if len(r.Refusals) > 0 {
			return errors.New("the operator would refuse the spec: see above for what to correct")
		}
		changes = changes || r.Changes()
	}
	if changes && o.exitCode {
		return exit{code: exitChanges}
	}
	return nil
}
