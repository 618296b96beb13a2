// SPDX-License-Identifier: Apache-2.0

package policydiff

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// story is a flow with the objects that have a say in it.
func (l *pipeline) story(f flow) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s; the model allows it: %v\n", f, l.May(own, f.Connection))
	end := func(what string, a netip.Addr, d Direction) {
		for key, p := range l.Pods {
			if !has(p, a) {
				continue
			}
			fmt.Fprintf(&b, "%s: pod %s on %s, labels %v, namespace's %v, ports %s\n", what, key, p.Spec.NodeName, p.Labels, l.Namespaces[p.Namespace].Labels, ports(p))
			if p.Spec.NodeName == own {
				l.say(&b, judge{l.Cluster, p, d, f.Connection})
			}
		}
		for name, n := range l.Nodes {
			for _, at := range n.Status.Addresses {
				if at.Address == a.String() {
					fmt.Fprintf(&b, "%s: node %s, labels %v\n", what, name, n.Labels)
				}
			}
		}
	}
	end("source", f.Source, Egress)
	end("destination", f.Dest, Ingress)
	return b.String()
}

// say writes the policies that are asked for one end.
func (l *pipeline) say(b *strings.Builder, j judge) {
	fmt.Fprintf(b, "  %s: %+v\n", j.d, l.Judge(j.pod, j.d, j.o))
	for _, p := range append(j.clusterPolicies("Admin"), j.clusterPolicies("Baseline")...) {
		fmt.Fprintf(b, "  ClusterNetworkPolicy %s %s\n", p.Name, inJSON(p.Spec))
	}
	for _, p := range j.networkPolicies() {
		fmt.Fprintf(b, "  NetworkPolicy %s/%s %s\n", p.Namespace, p.Name, inJSON(p.Spec))
	}
}

func ports(p *corev1.Pod) string {
	var out []string
	for _, o := range p.Spec.Containers[0].Ports {
		out = append(out, fmt.Sprintf("%s=%s/%d", o.Name, o.Protocol, o.ContainerPort))
	}
	return strings.Join(out, " ")
}

func inJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
