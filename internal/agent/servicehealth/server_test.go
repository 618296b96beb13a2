// SPDX-License-Identifier: Apache-2.0

package servicehealth

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"go.uber.org/goleak"

	"github.com/fairlead-io/fairlead/internal/agent/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// freePort is one that nobody listens at.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// ask is what a load balancer does; status 0: nobody listens.
func ask(t *testing.T, host string, port uint16) (status int, weight string, body map[string]any) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(fmt.Sprintf("http://%s/healthz", net.JoinHostPort(host, fmt.Sprint(port))))
	if err != nil {
		return 0, "", nil
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("X-Load-Balancing-Endpoint-Weight"), body
}

func TestLoadBalancersAreAnswered(t *testing.T) {
	s := New(slog.New(slog.DiscardHandler))
	defer s.Close()
	port := freePort(t)
	web := service.Health{Namespace: "default", Name: "web", Port: port, LocalEndpoints: 2}
	s.SetServices([]service.Health{web})
	for _, host := range []string{"127.0.0.1", "::1"} {
		status, weight, body := ask(t, host, port)
		if status != http.StatusOK || weight != "2" || body["localEndpoints"] != 2.0 || body["serviceProxyHealthy"] != true {
			t.Errorf("%s: %d, weight %s, %v", host, status, weight, body)
		}
		if about, ok := body["service"].(map[string]any); !ok || about["namespace"] != "default" || about["name"] != "web" {
			t.Errorf("%s: it is about %v", host, body["service"])
		}
	}
	web.LocalEndpoints = 0
	s.SetServices([]service.Health{web})
	if status, weight, body := ask(t, "127.0.0.1", port); status != http.StatusServiceUnavailable || weight != "0" || body["localEndpoints"] != 0.0 {
		t.Errorf("without endpoints: %d, weight %s, %v", status, weight, body)
	}
	s.SetServices(nil)
	if status, _, _ := ask(t, "127.0.0.1", port); status != 0 {
		t.Errorf("the port of a Service that is gone answers %d", status)
	}
}

// A port that somebody else has is had as soon as it is free.
func TestAPortThatIsTakenIsTriedAgain(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	s := New(slog.New(slog.DiscardHandler))
	defer s.Close()
	web := []service.Health{{Namespace: "default", Name: "web", Port: port, LocalEndpoints: 1}}
	s.SetServices(web)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.SetServices(web)
	if status, _, _ := ask(t, "127.0.0.1", port); status != http.StatusOK {
		t.Errorf("it answers %d", status)
	}
	s.Close()
	s.SetServices(web)
	if status, _, _ := ask(t, "127.0.0.1", port); status != 0 {
		t.Errorf("after its end it answers %d", status)
	}
}
