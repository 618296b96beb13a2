// SPDX-License-Identifier: Apache-2.0

package shared

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"testing"
)

func TestWhereARequestLeads(t *testing.T) {
	v := view{"c0007"}
	for _, c := range []struct{ name, in, want string }{
		{"what is served", "/apis/apps/v1", "/apis/apps/v1"},
		{"the version", "/version", "/version"},
		{"an object of a namespace", "/apis/apps/v1/namespaces/fairlead-system/daemonsets/a", "/apis/apps/v1/namespaces/fairlead-system-in-c0007/daemonsets/a"},
		{"a collection of a namespace", "/api/v1/namespaces/kube-system/pods?watch=1", "/api/v1/namespaces/kube-system-in-c0007/pods?watch=1"},
		{"a namespace", "/api/v1/namespaces/fairlead-system", "/api/v1/namespaces/fairlead-system-in-c0007"},
		{"a namespace's status", "/api/v1/namespaces/n/status", "/api/v1/namespaces/n-in-c0007/status"},
		{"one namespace by its name", "/api/v1/namespaces?fieldSelector=metadata.name%3Dn", "/api/v1/namespaces?fieldSelector=metadata.name%3Dn-in-c0007&labelSelector=scale.fairlead.io%2Fcluster%3Dc0007"},
		{"all nodes", "/api/v1/nodes", "/api/v1/nodes?labelSelector=scale.fairlead.io%2Fcluster%3Dc0007"},
		{"ClusterRoles of ours", "/apis/rbac.authorization.k8s.io/v1/clusterroles?labelSelector=a%3Db", "/apis/rbac.authorization.k8s.io/v1/clusterroles?labelSelector=a%3Db%2Cscale.fairlead.io%2Fcluster%3Dc0007"},
		{"a node", "/api/v1/nodes/n0", "/api/v1/nodes/n0-in-c0007"},
		{"a CRD", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/x", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/x"},
		{"pods of all namespaces", "/api/v1/pods", ""},
		{"a kind that nobody asked for yet", "/apis/scheduling.k8s.io/v1/priorityclasses/x", ""},
		{"a field that is no name", "/api/v1/nodes?fieldSelector=spec.unschedulable%3Dtrue", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := url.Parse(c.in)
			if err != nil {
				t.Fatal(err)
			}
			_, err = v.place(u)
			if got := u.String(); (err != nil) != (c.want == "") || (err == nil && got != c.want) {
				t.Errorf("got %s, %v; want %s", got, err, c.want)
			}
		})
	}
}

func TestWhatIsWritten(t *testing.T) {
	v := view{"c0007"}
	for _, c := range []struct {
		name, kind, in string
		own            bool
		want           string
	}{
		{"of a namespace", "application/json", `{"metadata":{"name":"a","namespace":"n"}}`, false, `{"metadata":{"name":"a","namespace":"n-in-c0007"}}`},
		{"of none", "application/apply-patch+yaml", `{"metadata":{"name":"a"}}`, true, `{"metadata":{"labels":{"scale.fairlead.io/cluster":"c0007"},"name":"a-in-c0007"}}`},
		{"numbers stay as they are", "application/merge-patch+json", `{"spec":{"n":9007199254740993}}`, false, `{"spec":{"n":9007199254740993}}`},
		{"who gets which rights", "application/json", `{"roleRef":{"kind":"ClusterRole","name":"r"},"subjects":[{"name":"s","namespace":"n"}]}`, false,
			`{"roleRef":{"kind":"ClusterRole","name":"r-in-c0007"},"subjects":[{"name":"s","namespace":"n-in-c0007"}]}`},
		{"a Role is of the namespace", "application/json", `{"roleRef":{"kind":"Role","name":"r"}}`, false, `{"roleRef":{"kind":"Role","name":"r"}}`},
		{"of no kind that is said", "", `{"metadata":{"namespace":"n"}}`, false, `{"metadata":{"namespace":"n-in-c0007"}}`},
		{"nothing", "", "", false, ""},
		{"protobuf", "application/vnd.kubernetes.protobuf", "k8s\x00", false, "refused"},
		{"no object", "application/json", "[]", false, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := v.body(c.kind, []byte(c.in), c.own)
			if (err != nil) != (c.want == "refused") || (err == nil && string(got) != c.want) {
				t.Errorf("got %s, %v; want %s", got, err, c.want)
			}
		})
	}
}

func TestAnswersInJSON(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"nothing is wanted", "", "application/json"},
		{"protobuf is", "application/vnd.kubernetes.protobuf", "application/json"},
		{"the metadata is", "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
			"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"},
	} {
		if got := accepted(c.in); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// TestEventsPassWhole sees the first event of a watch before there is a second one.
func TestEventsPassWhole(t *testing.T) {
	r, w := io.Pipe()
	out := unmark(r, "-in-c0007")
	go func() {
		_, _ = io.WriteString(w, `{"object":"n-in-`)       // the mark comes in two parts
		_, _ = io.WriteString(w, "c0007\"}\n{\"object\":") // and the second event is not whole
	}()
	buf := make([]byte, 100)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(buf[:n]); got != `{"object":"n"}`+"\n" {
		t.Errorf("got %q", got)
	}
	_ = w.Close()
	rest, err := io.ReadAll(out)
	if err != nil || string(rest) != `{"object":` {
		t.Errorf("got %q, %v", rest, err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
}

// FuzzView has whatever is written come back as it was.
func FuzzView(f *testing.F) {
	f.Add(`{"metadata":{"name":"a","namespace":"n","labels":{"x":"y"}},"subjects":[{"namespace":"n"}]}`)
	f.Add(`{"roleRef":{"kind":"ClusterRole","name":"r"}}`)
	v := view{"c0007"}
	f.Fuzz(func(t *testing.T, in string) {
		out, err := v.body("application/json", []byte(in), false)
		if err != nil || len(out) == 0 || strings.Contains(in, "-in-") || strings.Contains(in, `\`) {
			return
		}
		back, err := io.ReadAll(unmark(io.NopCloser(bytes.NewReader(out)), v.mark()))
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(parsed(t, []byte(in)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back, want) {
			t.Errorf("%s came back as %s", want, back)
		}
	})
}

func parsed(t *testing.T, raw []byte) (o map[string]any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&o); err != nil {
		t.Fatal(err)
	}
	return o
}
