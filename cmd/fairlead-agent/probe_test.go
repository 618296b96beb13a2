// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/fairlead/internal/gate"
)

// TestTheProbesPodFindsItsProgram: what the operator's DaemonSet starts is what this program
// has, and what it needs to know it is told.
func TestTheProbesPodFindsItsProgram(t *testing.T) {
	var pod *corev1.PodSpec
	for _, o := range gate.Objects(gate.Options{Namespace: "ns", Image: "i", APIServerHost: "192.0.2.1", APIServerPort: 6443}) {
		if d, ok := o.(*appsv1.DaemonSet); ok {
			pod = &d.Spec.Template.Spec
		}
	}
	if pod == nil {
		t.Fatal("there is no DaemonSet")
	}
	c := pod.Containers[0]
	values := map[string]string{"spec.nodeName": "n1", "metadata.namespace": "ns", "status.podIPs": "10.0.0.1,fd00::1"}
	for _, e := range c.Env {
		v := e.Value
		if e.ValueFrom != nil {
			v = values[e.ValueFrom.FieldRef.FieldPath]
		}
		t.Setenv(e.Name, v)
	}
	for _, command := range [][]string{c.Command, c.StartupProbe.Exec.Command} {
		if command[0] != "/fairlead-agent" {
			t.Errorf("it starts %s", command[0])
		}
		found, args, err := newAgentCommand().Find(command[1:])
		if err != nil || found.Name() != "probe" {
			t.Fatalf("%v starts %v, %v", command, found, err)
		}
		if err := found.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		for flag, want := range map[string]string{"node-name": "n1", "namespace": "ns", "addresses": "10.0.0.1,fd00::1"} {
			if got := found.Flags().Lookup(flag).Value.String(); got != want {
				t.Errorf("--%s is %s, want %s", flag, got, want)
			}
		}
	}
	if _, err := parseAddresses("10.0.0.1,fd00::1"); err != nil {
		t.Error(err)
	}
	if _, err := parseAddresses("10.0.0.1;fd00::1"); err == nil {
		t.Error("addresses separated by a semicolon are taken")
	}
}
