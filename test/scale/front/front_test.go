// SPDX-License-Identifier: Apache-2.0

package front

import (
	"io"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// server answers everything, and watches until whoever asked goes.
func server(w http.ResponseWriter, r *http.Request) {
	if !isWatch(r) {
		return
	}
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func TestAClusterFallsIllAndGetsWell(t *testing.T) {
	f, err := Start([]http.HandlerFunc{server, server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Stop() })
	ask := func(i int, path string) *http.Response {
		t.Helper()
		c, err := rest.HTTPClientFor(f.Config(i))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Get(f.Config(i).Host + path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	watch := ask(0, "/api/v1/pods?watch=1")
	well := f.Fall(0, Overloaded(3*time.Second))
	if _, err := io.ReadAll(watch.Body); err != nil {
		t.Errorf("the watch of a cluster that falls ill has not ended: %v", err)
	}
	if r := ask(0, "/"); r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") != "3" {
		t.Errorf("a cluster that is overloaded answers %s, come back after %q", r.Status, r.Header.Get("Retry-After"))
	}
	if r := ask(1, "/"); r.StatusCode != http.StatusOK {
		t.Errorf("the other cluster answers %s", r.Status)
	}
	well()
	if r := ask(0, "/"); r.StatusCode != http.StatusOK {
		t.Errorf("a cluster that is well answers %s", r.Status)
	}
	if got, want := f.Counts(0), (Counts{Watches: 1, Other: 2}); got != want {
		t.Errorf("it was sent %+v, want %+v", got, want)
	}
}

func TestIllUponARequest(t *testing.T) {
	f, err := Start([]http.HandlerFunc{server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Stop() })
	c, err := rest.HTTPClientFor(f.Config(0))
	if err != nil {
		t.Fatal(err)
	}
	begun := 0
	ill := Failing(http.StatusInternalServerError, metav1.StatusReasonInternalError, "no leader")
	f.Fall(0, Upon(func(r *http.Request) bool { return r.URL.Path == "/write" }, func() { begun++; f.Fall(0, ill) }, ill))
	for _, step := range []struct {
		path string
		want int
	}{{"/read", http.StatusOK}, {"/write", http.StatusInternalServerError}, {"/read", http.StatusInternalServerError}, {"/write", http.StatusInternalServerError}} {
		resp, err := c.Get(f.Config(0).Host + step.path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != step.want {
			t.Errorf("%s: answered %s, want %d", step.path, resp.Status, step.want)
		}
	}
	if begun != 1 {
		t.Errorf("it began %d times", begun)
	}
}
