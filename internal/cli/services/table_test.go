// SPDX-License-Identifier: Apache-2.0

package services

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/fairlead-io/fairlead/internal/agent/service/view"
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

func web(digest string, backends ...view.Backend) view.Service {
	return view.Service{
		Namespace: "shop", Name: "web", Digest: digest, Usable: 1, Total: 2, Backends: backends,
		Frontends: []view.Frontend{{Address: "10.96.0.7", Port: 80, Protocol: "TCP", Kind: "ClusterIP", Inside: 1},
			{Address: "0.0.0.0", Port: 30080, Protocol: "TCP", Kind: "NodePort", Inside: 1, Outside: 1, AffinitySeconds: 60}},
	}
}

// TestListSaysWhoDiffers: a node that knows something else, or nothing, is named.
func TestListSaysWhoDiffers(t *testing.T) {
	rows, failed := List([]agents.Answer{
		answer(t, "a", []view.Service{web("old")}),
		answer(t, "b", []view.Service{web("new")}),
		answer(t, "c", []view.Service{web("new")}),
		answer(t, "d", []view.Service{}),
		{Node: "e", Err: errors.New("its agent is pending")},
		{Node: "f", Body: []byte("no JSON")},
	})
	if len(failed) != 2 || len(rows) != 1 || rows[0].Agree != 2 || strings.Join(rows[0].Differ, " ") != "a d" {
		t.Fatalf("got %+v, failed %v", rows, failed)
	}
	var out bytes.Buffer
	if err := PrintList(&out, rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"shop", "10.96.0.7:80/TCP,node:30080/TCP", "1/2", "2/4", "a,d"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}

// TestTraceGroupsNodes: those that think the same are one block.
func TestTraceGroupsNodes(t *testing.T) {
	ready := view.Backend{Address: "10.1.0.2", Port: 8080, Protocol: "TCP", Node: "a", Ready: true, Serving: true, Inside: true, Outside: true}
	unused := view.Backend{Address: "10.1.1.2", Port: 8080, Protocol: "TCP", Node: "b", Terminating: true, Serving: true, Why: "it is terminating, and others are ready"}
	views := Trace([]agents.Answer{
		answer(t, "a", web("x", ready, unused)),
		answer(t, "b", web("x", ready, unused)),
		{Node: "c", Err: agents.ErrNotFound},
		{Node: "d", Err: errors.New("connection refused")},
	})
	if len(views) != 3 || strings.Join(views[0].Nodes, " ") != "a b" {
		t.Fatalf("got %+v", views)
	}
	var out bytes.Buffer
	if err := PrintTrace(&out, views); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"On a, b:", "10.1.0.2:8080", "no: it is terminating, and others are ready", "On c:\n  it knows no such Service", "On d:\n  connection refused", "60 s"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, out.String())
		}
	}
}
