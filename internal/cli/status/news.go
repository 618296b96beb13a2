// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"fmt"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// News says in lines what has changed from one fleet to the next, for a log or a pipe. It
// is empty when nothing has that a person would act on.
func News(before, after Fleet) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	type key struct{ namespace, name string }
	stacks := map[key]Stack{}
	for _, s := range before.Stacks {
		stacks[key{s.Namespace, s.Name}] = s
	}
	for _, s := range after.Stacks {
		k := key{s.Namespace, s.Name}
		was, known := stacks[k]
		delete(stacks, k)
		out = append(out, newsOfStack(was, s, known)...)
	}
	for _, s := range before.Stacks {
		if _, gone := stacks[key{s.Namespace, s.Name}]; gone {
			say("%s/%s is gone", s.Namespace, s.Name)
		}
	}
	clusters := map[key]Cluster{}
	for _, c := range before.Clusters {
		clusters[key{c.Namespace, c.Name}] = c
	}
	for _, c := range after.Clusters {
		k := key{c.Namespace, c.Name}
		was, known := clusters[k]
		delete(clusters, k)
		if line := newsOfCluster(was, c, known); line != "" {
			say("%s", line)
		}
	}
	for _, c := range before.Clusters {
		if _, gone := clusters[key{c.Namespace, c.Name}]; gone {
			say("%s/%s has left %s", c.Namespace, c.Name, c.Stack)
		}
	}
	return out
}

func newsOfStack(was, is Stack, known bool) (out []string) {
	proven, clusters := is.Progress()
	if !known || was.Phase() != is.Phase() || was.Version != is.Version || was.Rollout.Message != is.Rollout.Message {
		line := fmt.Sprintf("%s/%s %s %s, %d/%d clusters proven", is.Namespace, is.Name, cmp.Or(is.Version, "-"), is.Phase(), proven, clusters)
		if is.Rollout.Message != "" {
			line += ": " + is.Rollout.Message
		}
		out = append(out, line)
	}
	phases := map[string]v1alpha1.WavePhase{}
	for _, w := range was.Rollout.Waves {
		phases[w.Name] = w.Phase
	}
	for _, w := range is.Rollout.Waves {
		if known && phases[w.Name] != w.Phase {
			out = append(out, fmt.Sprintf("%s/%s wave %s %s, %d/%d clusters proven", is.Namespace, is.Name, w.Name, w.Phase, w.Proven, w.Clusters))
		}
	}
	if b := is.Rollout.Breach; b != nil && was.Rollout.Breach == nil {
		out = append(out, fmt.Sprintf("%s/%s breach: %s", is.Namespace, is.Name, Breach(b)))
	}
	return out
}

// newsOfCluster is a line, or nothing for a cluster that is seen for the first time and
// Ready: a fleet of a thousand would begin with a thousand lines.
func newsOfCluster(was, is Cluster, known bool) string {
	same := was.Version == is.Version && was.state() == is.state() && was.Ready == is.Ready && was.Reason == is.Reason
	if known && same || !known && is.Ready {
		return ""
	}
	line := fmt.Sprintf("%s/%s %s %s", is.Namespace, is.Name, dash(is.Version), is.state())
	if !is.Ready && is.Reason != "" {
		line += ": " + is.Reason + ": " + shorten(is.Message)
	}
	return line
}
