// SPDX-License-Identifier: Apache-2.0

package sync_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	stdsync "sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

// balancer is a ServiceHandler that remembers what it has and what it was told.
type balancer struct {
	mutex     stdsync.Mutex
	services  map[string]*state.Service
	endpoints map[string]*state.ServiceEndpoints
	changes   []sync.ServiceUpdate
	known     bool
	fresh     bool
	refusal   func(sync.ServiceUpdate) error
}

func newBalancer() *balancer {
	return &balancer{services: map[string]*state.Service{}, endpoints: map[string]*state.ServiceEndpoints{}}
}

func (b *balancer) ApplyServices(_ context.Context, c sync.ServiceUpdate) error {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for _, s := range c.Services {
		b.services[s.GetNamespace()+"/"+s.GetName()] = s
	}
	for _, e := range c.Endpoints {
		b.endpoints[e.GetNamespace()+"/"+e.GetName()] = e
	}
	for _, name := range c.RemovedServices {
		delete(b.services, name)
	}
	for _, name := range c.RemovedEndpoints {
		delete(b.endpoints, name)
	}
	b.changes, b.known, b.fresh = append(b.changes, c), c.Known, c.Fresh
	if b.refusal != nil {
		return b.refusal(c)
	}
	return nil
}

// look reads the balancer's state while nothing changes it.
func (b *balancer) look(f func()) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	f()
}

func (b *balancer) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	eventually(t, what, func() (is bool) {
		b.look(func() { is = ok() })
		return is
	})
}

func service(t *testing.T, name string, port uint32) state.Resource {
	return encode(t, "default/"+name, &state.Service{
		Namespace: "default", Name: name, ClusterIps: [][]byte{{10, 96, 0, 1}}, Ports: []*state.ServicePort{{Protocol: 6, Port: port}},
	})
}

func endpoints(t *testing.T, name string, last byte) state.Resource {
	return encode(t, "default/"+name, &state.ServiceEndpoints{
		Namespace: "default", Name: name, Service: name, Endpoints: []*state.ServiceEndpoint{{Address: []byte{10, 0, 0, last}, Ready: true}},
	})
}

func (c *cluster) balancing(dir string, b *balancer, addresses ...string) *agent {
	c.t.Helper()
	n := newNode()
	n.balancer = b
	return c.agent(dir, n, addresses...)
}

func TestOneChangeOfServicesIsHandedOverAlone(t *testing.T) {
	c := newCluster(t)
	ctl := c.controllerWith(clusterName, "127.0.0.1:0", serve.Options{MaxResources: 7})
	var content []state.Resource
	for i := range 50 {
		content = append(content, service(t, fmt.Sprintf("s%02d", i), 80), endpoints(t, fmt.Sprintf("s%02d", i), 1))
	}
	ctl.fill(content...)
	b := newBalancer()
	c.balancing(t.TempDir(), b, ctl.address)
	b.until(t, "all are known", func() bool { return b.known && b.fresh })
	b.look(func() {
		if len(b.services) != 50 || len(b.endpoints) != 50 {
			t.Errorf("all are known with %d Services and %d slices, want 50 of each", len(b.services), len(b.endpoints))
		}
		for _, change := range b.changes[:len(b.changes)-1] {
			if change.Known {
				t.Errorf("they are known before the last part")
			}
		}
		b.changes = nil
	})
	eventually(t, "in sync", func() bool { s := ctl.server.Statuses(); return len(s) == 1 && s[0].Synced() })
	ctl.store.Change(serve.Shared, state.ServiceEndpointsType, []state.Resource{endpoints(t, "s07", 2)}, nil)
	b.until(t, "the change", func() bool { return b.endpoints["default/s07"].GetEndpoints()[0].GetAddress()[3] == 2 })
	ctl.store.Change(serve.Shared, state.ServiceType, nil, []string{"default/s08"})
	b.until(t, "the removal", func() bool { return b.services["default/s08"] == nil })
	b.look(func() {
		if len(b.changes) != 2 || len(b.changes[0].Endpoints) != 1 || len(b.changes[1].RemovedServices) != 1 || !b.changes[1].Known {
			t.Errorf("two changes were handed over as %+v", b.changes)
		}
	})
}

func TestServicesSurviveARestartWithoutController(t *testing.T) {
	c := newCluster(t)
	ctl := c.controller(clusterName, "127.0.0.1:0")
	content := []state.Resource{service(t, "a", 80), service(t, "b", 80), endpoints(t, "a", 1), endpoints(t, "b", 1)}
	ctl.fill(content...)
	dir := t.TempDir()
	b := newBalancer()
	a := c.balancing(dir, b, ctl.address)
	b.until(t, "all are known", func() bool { return b.known })
	ctl.store.Change(serve.Shared, state.ServiceEndpointsType, []state.Resource{endpoints(t, "a", 2)}, []string{"default/b"})
	b.until(t, "the change", func() bool { return len(b.endpoints) == 1 })
	eventually(t, "in sync", func() bool { s := ctl.server.Statuses(); return len(s) == 1 && s[0].Synced() })
	a.stop()
	ctl.kill()

	b = newBalancer()
	c.balancing(dir, b)
	b.until(t, "the saved Services", func() bool { return b.known })
	b.look(func() {
		if b.fresh || len(b.services) != 2 || len(b.endpoints) != 1 || b.endpoints["default/a"].GetEndpoints()[0].GetAddress()[3] != 2 {
			t.Errorf("loaded %v and %v, fresh: %v", b.services, b.endpoints, b.fresh)
		}
	})
	// Versions say what the agent has: nothing is sent twice, and the answer makes it fresh.
	again := c.controller(clusterName, ctl.address)
	again.fill(service(t, "a", 80), service(t, "b", 81), endpoints(t, "a", 2))
	b.until(t, "a fresh state", func() bool { return b.fresh && b.services["default/b"].GetPorts()[0].GetPort() == 81 })
	if got := again.sent(); got != 1 {
		t.Errorf("%d resources were sent again, want 1", got)
	}
}

// What cannot be in force is named, what it was before is put back, and all others are in force.
func TestRefusedServiceIsPutBack(t *testing.T) {
	c := newCluster(t)
	ctl := c.controller(clusterName, "127.0.0.1:0")
	b := newBalancer()
	bad := func(s *state.Service) bool { return len(s.GetPorts()) > 0 && s.GetPorts()[0].GetPort() == 666 }
	b.refusal = func(change sync.ServiceUpdate) error {
		for _, s := range b.services {
			if bad(s) {
				return errors.New("Service default/" + s.GetName() + ": no room; make room")
			}
		}
		return nil
	}
	var content, changed []state.Resource
	for i := range 20 {
		name := fmt.Sprintf("s%02d", i)
		content = append(content, service(t, name, 80))
		port := uint32(81)
		if i == 7 {
			port = 666
		}
		changed = append(changed, service(t, name, port))
	}
	ctl.fill(content...)
	dir := t.TempDir()
	a := c.balancing(dir, b, ctl.address)
	b.until(t, "all are known", func() bool { return b.fresh && len(b.services) == 20 })
	changed = append(changed, service(t, "new", 666))
	ctl.fill(changed...)
	inForce := func() bool {
		for name, s := range b.services {
			if want := map[bool]uint32{true: 80, false: 81}[name == "default/s07"]; s.GetPorts()[0].GetPort() != want {
				return false
			}
		}
		return len(b.services) == 20
	}
	b.until(t, "all but the bad ones are in force", inForce)
	eventually(t, "both refusals are known in the agent's words", func() bool {
		s := ctl.server.Statuses()
		return len(s) == 1 && len(s[0].Refusals) == 2 && s[0].Refusals[0].Name == "default/new" && s[0].Refusals[1].Name == "default/s07" &&
			s[0].Refusals[1].Message == "Service default/s07: no room; make room"
	})
	a.stop()
	b = newBalancer()
	c.balancing(dir, b, "127.0.0.1:1") // no controller, which would send the refused ones to this one
	b.until(t, "what was in force is what is saved", func() bool { return b.known && inForce() })
}

func TestDamagedServicesAreAskedForAgain(t *testing.T) {
	c := newCluster(t)
	ctl := c.controller(clusterName, "127.0.0.1:0")
	ctl.fill(service(t, "a", 80), service(t, "b", 80), endpoints(t, "a", 1), endpoints(t, "b", 1))
	dir := t.TempDir()
	b := newBalancer()
	a := c.balancing(dir, b, ctl.address)
	b.until(t, "all are known", func() bool { return b.known })
	a.stop()
	path := filepath.Join(dir, "state", "services.log")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for _, damage := range []struct {
		name string
		data []byte
	}{
		{"empty", nil}, {"cut off", good[:len(good)-7]}, {"a flipped bit", flipped}, {"something else", []byte(`{"a": 1}`)},
		{"of another cluster", bytes.Replace(good, []byte(`"alpha"`), []byte(`"bravo"`), 1)},
	} {
		t.Run(damage.name, func(t *testing.T) {
			write(t, path, damage.data)
			b := newBalancer()
			a := c.balancing(dir, b, ctl.address)
			b.until(t, "everything again", func() bool { return b.fresh && len(b.services) == 2 && len(b.endpoints) == 2 })
			eventually(t, "in sync", func() bool { s := ctl.server.Statuses(); return len(s) == 1 && s[0].Synced() })
			a.stop()
			b = newBalancer()
			a = c.balancing(dir, b, "127.0.0.1:1")
			b.until(t, "everything was saved", func() bool { return b.known && len(b.services) == 2 && len(b.endpoints) == 2 })
			a.stop()
		})
	}
}

// A log that is mostly waste is written anew, and loses nothing.
func TestServiceLogIsWrittenAnew(t *testing.T) {
	c := newCluster(t)
	ctl := c.controller(clusterName, "127.0.0.1:0")
	big := func(round int) state.Resource {
		m := &state.ServiceEndpoints{Namespace: "default", Name: "big", Service: "big"}
		for i := range 20000 {
			m.Endpoints = append(m.Endpoints, &state.ServiceEndpoint{Address: []byte{10, byte(round), byte(i >> 8), byte(i)}, Node: "a-node-with-a-name"})
		}
		return encode(t, "default/big", m)
	}
	first := big(0)
	ctl.fill(first, endpoints(t, "small", 1))
	dir := t.TempDir()
	b := newBalancer()
	a := c.balancing(dir, b, ctl.address)
	const rounds = 24
	for i := 1; i <= rounds; i++ {
		ctl.store.Change(serve.Shared, state.ServiceEndpointsType, []state.Resource{big(i)}, nil)
		b.until(t, "the change", func() bool {
			e := b.endpoints["default/big"].GetEndpoints()
			return len(e) > 0 && e[0].GetAddress()[1] == byte(i)
		})
	}
	b.until(t, "all are known", func() bool { return b.known })
	eventually(t, "in sync", func() bool { s := ctl.server.Statuses(); return len(s) == 1 && s[0].Synced() })
	a.stop()
	info, err := os.Stat(filepath.Join(dir, "state", "services.log"))
	if err != nil || info.Size() > int64(rounds*len(first.Body)/2) {
		t.Errorf("the log has %v bytes (%v) after %d changes of %d bytes", info.Size(), err, rounds, len(first.Body))
	}
	want := b.endpoints["default/big"]
	b = newBalancer()
	c.balancing(dir, b, "127.0.0.1:1")
	b.until(t, "what was in force", func() bool { return b.known && proto.Equal(b.endpoints["default/big"], want) && len(b.endpoints) == 2 })
}
