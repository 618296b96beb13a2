// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/internal/agent/policy/view"
	"github.com/fairlead-io/fairlead/internal/cli/agents"
)

func answer(t *testing.T, node string, value any) agents.Answer {
	t.Helper()
	body, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return agents.Answer{Node: node, Body: body}
}

func TestWhatIsEnforcedIsListedAndWhatIsNotIsNamed(t *testing.T) {
	nodes, failed := Nodes([]agents.Answer{
		answer(t, "a", view.Node{InForce: true, Pods: []view.Pod{
			{Pod: "shop/web", Ingress: true, Policies: []string{"NetworkPolicy shop/web", "ClusterNetworkPolicy guard"}},
			{Pod: "shop/new", Ingress: true, Egress: true, Closed: "it is not known yet"}, {Pod: "kube-system/dns"}, {Pod: "other/x", Egress: true},
		}, Maps: []view.Map{{Name: "classes", Used: 95, Max: 100}, {Name: "pods", Used: 1, Max: 100}}}),
		answer(t, "b", view.Node{NotInForce: "map classes is full"}),
		{Node: "c", Err: errors.New("its agent is pending")},
		{Node: "d", Body: []byte("no JSON")},
	})
	if len(nodes) != 2 || len(failed) != 2 {
		t.Fatalf("%+v, failed %v", nodes, failed)
	}
	var out bytes.Buffer
	if err := Print(&out, nodes); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"a shop/web policed open NetworkPolicy shop/web, ClusterNetworkPolicy guard", "a shop/new closed closed it is not known yet", "a other/x open policed -",
		"1 pods without policies are not listed", "node b: not all is in force: map classes is full", "node a: map classes has 95 of 100 rows in use",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(text, "map pods") || strings.Contains(text, "dns") {
		t.Errorf("it has too much:\n%s", out.String())
	}
	if nodes = InNamespace(nodes, "other"); len(nodes[0].Pods) != 1 {
		t.Errorf("in one namespace: %+v", nodes[0].Pods)
	}
}

func TestDropsOfAllNodesAreOneListTheLatestFirst(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	drops, failed := Drops([]agents.Answer{
		answer(t, "a", []view.Drop{{Hook: "to_pod", Reason: "policy", Direction: "ingress", Why: "NetworkPolicy shop/p: no rule allows it", Source: "10.0.0.1:4", Destination: "10.0.0.2:80", Protocol: 6, At: at}}),
		answer(t, "b", []view.Drop{{Hook: "from_pod", Reason: "source", Source: "10.0.0.9", Destination: "10.0.0.2", At: at.Add(time.Second)}}),
		{Node: "c", Err: errors.New("its agent is pending")},
	})
	if len(failed) != 1 || len(drops) != 2 || drops[0].Node != "b" {
		t.Fatalf("%+v, failed %v", drops, failed)
	}
	var out bytes.Buffer
	if err := PrintDrops(&out, drops); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"2026-01-02T03:04:05Z a ingress 10.0.0.1:4 10.0.0.2:80 6 0 NetworkPolicy shop/p: no rule allows it", "b - 10.0.0.9 10.0.0.2 0 0 from_pod: source"} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q:\n%s", want, out.String())
		}
	}
}
