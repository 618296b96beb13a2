// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
)

// StackName is the name of the NetworkStack in config/samples/networkstack.yaml.
const StackName = "lab"

// ApplySample applies the sample's NetworkStack, with a rollout that waits for nothing but
// agents and acknowledgements: what test/rollout is about takes other tests no time. Drift is
// only reported, because tests break agents and controllers on purpose.
func (l *Lab) ApplySample(ctx context.Context, hub client.Client) error {
	if err := l.ApplyFile(ctx, hub, l.Path("config", "samples", "networkstack.yaml")); err != nil {
		return err
	}
	s := &fairlead.NetworkStack{ObjectMeta: metav1.ObjectMeta{Namespace: FleetNamespace, Name: StackName}}
	return hub.Patch(ctx, s, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"driftPolicy":"Report","rollout":{
		"gates": {"probes": "Disabled"}, "soak": "0s", "maxConcurrent": "100%", "allowDowngrade": true, "agents": {"minReadySeconds": 0}
	}}}`)))
}

// WaitReady waits until the NetworkStack is Ready at its present generation. It
// tells progress each time that something changed.
func WaitReady(ctx context.Context, c client.Client, name string, progress func(string)) error {
	last := "it does not exist"
	err := wait.PollUntilContextCancel(ctx, 300*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		var s fairlead.NetworkStack
		if err := c.Get(ctx, client.ObjectKey{Namespace: FleetNamespace, Name: name}, &s); err != nil {
			last = err.Error()
			return false, nil
		}
		line := describe(ctx, c, &s)
		if line != last {
			last = line
			progress(line)
		}
		ready := meta.FindStatusCondition(s.Status.Conditions, fairlead.ConditionReady)
		return ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == s.Generation, nil
	})
	if err != nil {
		return fmt.Errorf("NetworkStack %s/%s is not Ready: %s: %w", FleetNamespace, name, last, err)
	}
	return nil
}

// describe says in one line where each cluster stands.
func describe(ctx context.Context, c client.Client, s *fairlead.NetworkStack) string {
	var list fairlead.ClusterStackList
	if err := c.List(ctx, &list, client.InNamespace(s.Namespace)); err != nil {
		return err.Error()
	}
	parts := []string{fmt.Sprintf("%d of %d clusters are ready", s.Status.Clusters.Ready, s.Status.Clusters.Selected)}
	for _, cs := range list.Items {
		if ready := meta.FindStatusCondition(cs.Status.Conditions, fairlead.ConditionReady); ready != nil && ready.Status != metav1.ConditionTrue {
			parts = append(parts, fmt.Sprintf("%s: %s", cs.Name, ready.Message))
		}
	}
	return strings.Join(parts, "; ")
}

// SetRouting edits the stack's routing.
func (l *Lab) SetRouting(ctx context.Context, mode fairlead.RoutingMode) error {
	c, err := l.Client(Hub)
	if err != nil {
		return err
	}
	var s fairlead.NetworkStack
	if err := c.Get(ctx, client.ObjectKey{Namespace: FleetNamespace, Name: StackName}, &s); err != nil {
		return err
	}
	before := s.DeepCopy()
	s.Spec.CNI.Routing.Mode = mode
	return c.Patch(ctx, &s, client.MergeFrom(before))
}

// PrintNodes prints a table of the clusters' nodes: what each runs and holds.
func (l *Lab) PrintNodes(ctx context.Context, w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tw, "CLUSTER\tNODE\tKUBERNETES\tKERNEL\tRUNTIME\tFAIRLEAD\tREADY\tPOD RANGES") //nolint:errcheck // Flush returns the error
	for _, cluster := range l.Clusters() {
		c, err := l.Client(cluster)
		if err != nil {
			return err
		}
		var nodes corev1.NodeList
		var nets fairlead.NodeNetworkList
		if err := c.List(ctx, &nodes); err != nil {
			return err
		}
		if err := c.List(ctx, &nets); err != nil {
			return err
		}
		for _, n := range nodes.Items {
			i := slices.IndexFunc(nets.Items, func(nn fairlead.NodeNetwork) bool { return nn.Name == n.Name })
			version, ready, ranges := "-", "-", "-"
			if i >= 0 {
				st := nets.Items[i].Status
				version, ranges = st.AgentVersion, strings.Join(st.PodCIDRs, ",")
				if r := meta.FindStatusCondition(st.Conditions, fairlead.ConditionReady); r != nil {
					ready = string(r.Status)
				}
			}
			info := n.Status.NodeInfo
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", cluster, n.Name, info.KubeletVersion, info.KernelVersion, //nolint:errcheck // as above
				info.ContainerRuntimeVersion, version, ready, ranges)
		}
	}
	return tw.Flush()
}
