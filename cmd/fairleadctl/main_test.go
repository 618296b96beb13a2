// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
)

// management is the management cluster of all tests, kubeconfig a file with an administrator's.
var (
	management *fleettest.Server
	kubeconfig string
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "fairleadctl-")
	if err == nil {
		defer os.RemoveAll(dir) //nolint:errcheck // it is the system's folder of temporary files
		management, err = fleettest.Hub()
	}
	if err == nil {
		defer management.Stop() //nolint:errcheck // the process ends
		err = writeKubeconfig(filepath.Join(dir, "kubeconfig"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func writeKubeconfig(path string) error {
	content, err := management.AddUser("person")
	if err != nil {
		return err
	}
	kubeconfig = path
	return os.WriteFile(path, content, 0o600)
}

// story is one test's namespace on the management cluster.
type story struct {
	*WithT
	t   *testing.T
	ctx context.Context
	ns  string
}

func begin(t *testing.T) *story {
	t.Helper()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(20 * time.Second)
	g.SetDefaultEventuallyPollingInterval(10 * time.Millisecond)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "s-"}}
	if err := management.Client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return &story{WithT: g, t: t, ctx: t.Context(), ns: ns.Name}
}

// said is what a command line came to.
type said struct {
	code     int
	out, err string
}

// says runs fairleadctl in the story's namespace.
func (s *story) says(args ...string) said { return s.saysTo("", args...) }

// saysTo is says with a standard input.
func (s *story) saysTo(input string, args ...string) said {
	s.t.Helper()
	var out, errs bytes.Buffer
	args = append([]string{"--kubeconfig", kubeconfig, "--namespace", s.ns}, args...)
	code := run(s.ctx, args, strings.NewReader(input), &out, &errs)
	return said{code, out.String(), errs.String()}
}

// stack creates a NetworkStack that selects every Cluster, with two waves.
func (s *story) stack(name string, change func(*v1alpha1.NetworkStack)) *v1alpha1.NetworkStack {
	s.t.Helper()
	wave := func(name string) v1alpha1.WaveSpec {
		return v1alpha1.WaveSpec{Name: name, ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{"wave": name}}}
	}
	o := &v1alpha1.NetworkStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name},
		Spec: v1alpha1.NetworkStackSpec{AllClusters: true, Rollout: v1alpha1.RolloutSpec{
			Waves: []v1alpha1.WaveSpec{wave("canary"), wave("early")},
		}},
	}
	o.Spec.Rollout.Waves[1].Approval = v1alpha1.ApprovalRequired
	if change != nil {
		change(o)
	}
	s.Expect(management.Client.Create(s.ctx, o)).To(Succeed())
	return o
}

// rollout plays the part of the operator: it reports how far a stack's rollout is.
func (s *story) rollout(o *v1alpha1.NetworkStack, r v1alpha1.RolloutStatus) {
	s.t.Helper()
	s.Eventually(func() error {
		if err := management.Client.Get(s.ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		o.Status.ObservedGeneration, o.Status.Version, o.Status.Rollout = o.Generation, "v0.1.0", r
		return management.Client.Status().Update(s.ctx, o)
	}).Should(Succeed())
}

// clusterStack creates a ClusterStack of a stack, in a wave, with a condition Ready.
func (s *story) clusterStack(stack, name, wave string, ready metav1.ConditionStatus) *v1alpha1.ClusterStack {
	s.t.Helper()
	o, err := createClusterStack(s.ctx, s.ns, stack, name, wave, ready)
	s.Expect(err).NotTo(HaveOccurred())
	return o
}

func createClusterStack(ctx context.Context, ns, stack, name, wave string, ready metav1.ConditionStatus) (*v1alpha1.ClusterStack, error) {
	o := &v1alpha1.ClusterStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: map[string]string{v1alpha1.NetworkStackLabel: stack}},
		Spec:       v1alpha1.ClusterStackSpec{NetworkStack: stack, ClusterName: name, Version: "v0.1.0", PlanDigest: "aaaa", Wave: wave},
	}
	if err := management.Client.Create(ctx, o); err != nil {
		return nil, err
	}
	now := metav1.Now()
	reason, message := v1alpha1.ReasonAllNodesAcknowledged, "3 of 3 nodes are up to date and in sync"
	if ready != metav1.ConditionTrue {
		reason, message = v1alpha1.ReasonNodesNotReady, "node worker-1 has not acknowledged its state"
	}
	o.Status = v1alpha1.ClusterStackStatus{
		ObservedGeneration: o.Generation,
		Nodes:              v1alpha1.NodeCounts{Total: 3, Updated: 3, Acknowledged: 3},
		Update:             v1alpha1.UpdateStatus{Phase: v1alpha1.UpdateProven, PlanDigest: "aaaa"},
		Proven:             &v1alpha1.ProvenStatus{Version: "v0.1.0", PlanDigest: "aaaa", Time: now},
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionConnected, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonConnected, LastTransitionTime: now},
			{Type: v1alpha1.ConditionReady, Status: ready, Reason: reason, Message: message, LastTransitionTime: now},
		},
	}
	return o, management.Client.Status().Update(ctx, o)
}

// underWay is a rollout whose first wave has passed.
func underWay(phase v1alpha1.RolloutPhase) v1alpha1.RolloutStatus {
	begun := metav1.NewTime(time.Now().Add(-4 * time.Minute))
	return v1alpha1.RolloutStatus{
		Revision: "r1", Attempt: 1, Phase: phase, StartedAt: &begun,
		Waves: []v1alpha1.WaveStatus{
			{Name: "canary", Phase: v1alpha1.WavePassed, Clusters: 1, Proven: 1},
			{Name: "early", Phase: v1alpha1.WavePending, Clusters: 2, Waiting: 2},
		},
	}
}
