// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
)

// server answers each request with the next of the answers.
func server(t *testing.T, answers ...http.HandlerFunc) *Client {
	t.Helper()
	// Connections are served side by side.
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers[min(int(asked.Add(1)), len(answers))-1](w, r)
	}))
	t.Cleanup(s.Close)
	c, err := New(&rest.Config{Host: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func says(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if code == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "0")
		}
		w.WriteHeader(code)
		io.WriteString(w, body) //nolint:errcheck // the test sees
	}
}

const (
	busy    = `{"kind":"Status","code":429,"reason":"TooManyRequests","message":"storage is (re)initializing"}`
	noKind  = `{"kind":"Status","code":404,"reason":"NotFound","message":"the server could not find the requested resource","details":{}}`
	noStack = `{"kind":"Status","code":404,"reason":"NotFound","message":"not found","details":{"name":"a"}}`
	denied  = `{"kind":"Status","code":403,"reason":"Forbidden","message":"networkstacks is forbidden: User tom cannot get"}`
)

func TestWhatAServerSaysIsSaidToThePerson(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []http.HandlerFunc
		want    string
	}{
		{"it is busy for a moment", []http.HandlerFunc{says(429, busy), says(429, busy), says(200, `{"metadata":{"name":"a"}}`)}, ""},
		{"it stays busy", []http.HandlerFunc{says(429, busy)}, "storage is (re)initializing"},
		{"it knows no such kind", []http.HandlerFunc{says(404, noKind)}, "is it the management cluster (--context), and is Fairlead's operator installed there?"},
		{"there is no such stack", []http.HandlerFunc{says(404, noStack)}, "there is no NetworkStack a in namespace n"},
		{"it forbids it", []http.HandlerFunc{says(403, denied)}, "User tom cannot get"},
		{"it is no API server", []http.HandlerFunc{says(502, "<html>")}, "is --server an API server?"},
		{"it speaks otherwise", []http.HandlerFunc{says(200, "<html>")}, "cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := server(t, c.answers...).Stack(context.Background(), "n", "a")
			if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// FuzzTable reads whatever a server says is a table.
func FuzzTable(f *testing.F) {
	f.Add(`{"columnDefinitions":[{"name":"Name"}],"rows":[{"cells":["a"]}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		c := server(t, says(200, `{"items":[{"metadata":{"namespace":"n","name":"a"}}]}`), says(200, body), says(200, body))
		if _, err := c.Overview(context.Background(), Query{}); err == nil && body == "" {
			t.Error("nothing is no table")
		}
	})
}
