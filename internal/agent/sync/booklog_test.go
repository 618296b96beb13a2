// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/fairlead-io/fairlead/internal/state"
)

func openBook(t testing.TB, dir string) *book {
	t.Helper()
	b := newBook(newServiceLog(Config{StateDir: dir, ClusterName: "alpha", NodeName: "n1", Log: slog.New(slog.DiscardHandler)}), kindEndpoints, kindService)
	if err := b.open(); err != nil {
		t.Fatal(err)
	}
	return b
}

// slice is a row of n endpoints.
func slice(t testing.TB, name string, n int) bookRow {
	t.Helper()
	m := &state.ServiceEndpoints{Namespace: "default", Name: name, Service: name, Ports: []*state.EndpointPort{{Protocol: 6, Port: 8080}}}
	for i := range n {
		m.Endpoints = append(m.Endpoints, &state.ServiceEndpoint{
			Address: []byte{10, 1, byte(i >> 8), byte(i)}, Ready: true, Serving: true, Node: fmt.Sprintf("node-%d", i%100), Zone: "zone-a",
		})
	}
	res, err := state.Encode("default/"+name, m)
	if err != nil {
		t.Fatal(err)
	}
	return bookRow{key: resourceKey{kindEndpoints, res.Name}, version: res.Version, body: res.Body}
}

// Whatever a crash leaves of the log, what can be read of it is what was written, and more
// can be written.
func TestServiceLogCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	b := openBook(t, dir)
	defer b.log.close()
	rows := []bookRow{slice(t, "a", 1), slice(t, "b", 2), {key: resourceKey{kindEndpoints, "default/a"}}, slice(t, "c", 3)}
	for _, row := range rows {
		b.keep(state.ServiceEndpointsType, []bookRow{row}, true)
	}
	data, err := os.ReadFile(filepath.Join(dir, serviceFile))
	if err != nil {
		t.Fatal(err)
	}
	for cut := range data {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, serviceFile), data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		b := newBook(newServiceLog(Config{StateDir: dir, ClusterName: "alpha", NodeName: "n1", Log: slog.New(slog.DiscardHandler)}), kindEndpoints, kindService)
		if err := b.open(); err != nil && !errors.Is(err, errForeign) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		for _, k := range b.all() {
			if _, err := b.read(k); err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
		b.keep(state.ServiceEndpointsType, []bookRow{slice(t, "d", 4)}, true)
		b.log.close()
		again := openBook(t, dir)
		if _, err := again.read(resourceKey{kindEndpoints, "default/d"}); err != nil || len(again.all()) != len(b.all()) {
			t.Fatalf("cut at %d: %v, %v; want what was kept after it: %v", cut, again.all(), err, b.all())
		}
		again.log.close()
	}
}

// A disk that cannot be written costs nothing but the next start.
func TestServiceLogWithoutDisk(t *testing.T) {
	dir := t.TempDir()
	b := openBook(t, dir)
	b.keep(state.ServiceEndpointsType, []bookRow{slice(t, "a", 1)}, true)
	b.log.file.Close() // every write fails from here on
	b.keep(state.ServiceEndpointsType, []bookRow{slice(t, "b", 1)}, false)
	if _, err := b.read(resourceKey{kindEndpoints, "default/b"}); err != nil {
		t.Errorf("what was not written cannot be read: %v", err)
	}
}

func FuzzServiceLog(f *testing.F) {
	good, _ := appendRecord(nil, record{key: resourceKey{kindService, "default/a"}, version: "v", body: []byte{1, 2}})
	f.Add(good)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		end := scan(bufio.NewReader(bytes.NewReader(data)), func(r record, at int64) {
			if got := data[at : at+int64(len(r.body))]; !bytes.Equal(got, r.body) {
				t.Fatalf("the content at %d is %x, want %x", at, got, r.body)
			}
		})
		if end > int64(len(data)) {
			t.Fatalf("%d of %d bytes are good", end, len(data))
		}
		if r, err := decodeRecord(data); err == nil {
			again, _ := appendRecord(nil, r)
			scan(bufio.NewReader(bytes.NewReader(again)), func(back record, _ int64) {
				if back.key != r.key || back.version != r.version || !bytes.Equal(back.body, r.body) {
					t.Fatalf("%+v comes back as %+v", r, back)
				}
			})
		}
	})
}

// BenchmarkServiceBook tells what 10,000 Services with 20,000 slices of 5 endpoints cost:
// their loading, their memory, and one change of them.
func BenchmarkServiceBook(b *testing.B) {
	dir := b.TempDir()
	book := openBook(b, dir)
	var rows []bookRow
	for i := range 20000 {
		rows = append(rows, slice(b, fmt.Sprintf("service-%05d-abcde", i), 5))
	}
	book.keep(state.ServiceEndpointsType, rows, true)
	rows = rows[:0]
	for i := range 10000 {
		name := fmt.Sprintf("service-%05d", i)
		res, err := state.Encode("default/"+name, &state.Service{Namespace: "default", Name: name, ClusterIps: [][]byte{{10, 96, byte(i >> 8), byte(i)}},
			Ports: []*state.ServicePort{{Name: "http", Protocol: 6, Port: 80}}})
		if err != nil {
			b.Fatal(err)
		}
		rows = append(rows, bookRow{key: resourceKey{kindService, res.Name}, version: res.Version, body: res.Body})
	}
	book.keep(state.ServiceType, rows, true)
	book.log.close()
	rows, book = nil, nil
	b.Run("load", func(b *testing.B) {
		for range b.N {
			loaded := openBook(b, dir)
			for _, k := range loaded.all() {
				if _, err := loaded.read(k); err != nil {
					b.Fatal(err)
				}
			}
			loaded.log.close()
		}
	})
	b.Run("change", func(b *testing.B) {
		before := heap()
		loaded := openBook(b, dir)
		size := heap() - before
		row := slice(b, "service-00007-abcde", 6)
		for b.Loop() {
			loaded.keep(state.ServiceEndpointsType, []bookRow{row}, true)
		}
		b.ReportMetric(float64(size)/(1<<20), "MiB")
		loaded.log.close()
	})
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
