// SPDX-License-Identifier: Apache-2.0

package table

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// kernel is a table of a kernel that can refuse.
type kernel struct {
	rows   map[string]int
	refuse string // the key that it refuses
	calls  []string
}

func (k *kernel) Put(key string, v int) error {
	k.calls = append(k.calls, fmt.Sprintf("put %s=%d", key, v))
	if key == k.refuse {
		return errors.New("refused")
	}
	k.rows[key] = v
	return nil
}

func (k *kernel) Delete(key string, _ int) error {
	k.calls = append(k.calls, "delete "+key)
	if key == k.refuse {
		return errors.New("refused")
	}
	delete(k.rows, key)
	return nil
}

func (k *kernel) List() (map[string]int, error) {
	if k.refuse == "list" {
		return nil, errors.New("refused")
	}
	out := map[string]int{}
	for key, v := range k.rows {
		out[key] = v
	}
	return out, nil
}

// wantCalls expects these calls, in any order, since the last time.
func (k *kernel) wantCalls(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(k.calls)
	slices.Sort(want)
	if diff := cmp.Diff(want, k.calls, cmp.Transformer("nil", func(s []string) string { return strings.Join(s, ";") })); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	k.calls = nil
}

func TestNoCallBeforeSync(t *testing.T) {
	k := &kernel{rows: map[string]int{}}
	table := New("t", k)
	table.SetDesired("a", 1)
	table.SetDesired("b", 1)
	table.SetDesired("b", 2)
	table.SetDesired("c", 3)
	table.Unset("c")
	k.wantCalls(t)
	noError(t, table.Sync())
	k.wantCalls(t, "put a=1", "put b=2")
	noError(t, table.Sync())
	k.wantCalls(t) // nothing is new
	table.SetDesired("a", 1)
	table.Unset("b")
	noError(t, table.Sync())
	k.wantCalls(t, "delete b")
}

func TestResyncAndPrune(t *testing.T) {
	k := &kernel{rows: map[string]int{"same": 1, "other": 1, "left": 1, "kept": 1}}
	table := New("t", k)
	table.SetDesired("same", 1)
	table.SetDesired("other", 2)
	noError(t, table.Resync())
	noError(t, table.Sync())
	k.wantCalls(t, "put other=2") // what nobody mentioned stays
	if v, ok := table.Get("left"); !ok || v != 1 {
		t.Errorf("Get of a row that was left: %d, %v", v, ok)
	}
	noError(t, table.Prune(func(key string, _ int) bool { return key != "kept" }))
	k.wantCalls(t, "delete left")
	noError(t, table.Prune(nil))
	k.wantCalls(t, "delete kept")
}

func TestRowsThatTheKernelLost(t *testing.T) {
	k := &kernel{rows: map[string]int{}}
	table := New("t", k)
	table.SetDesired("a", 1)
	table.SetDesired("b", 1)
	noError(t, table.Sync())
	k.calls = nil
	delete(k.rows, "a")
	noError(t, table.Resync())
	noError(t, table.Sync())
	k.wantCalls(t, "put a=1")
}

func TestRefusedRowIsTriedAgain(t *testing.T) {
	k := &kernel{rows: map[string]int{}, refuse: "bad"}
	table := New("the table", k)
	table.SetDesired("bad", 1)
	table.SetDesired("good", 1)
	if err := table.Sync(); err == nil || !strings.Contains(err.Error(), "the table: write bad: refused") {
		t.Errorf("got error %v", err)
	}
	k.wantCalls(t, "put bad=1", "put good=1") // the error stopped nothing
	if _, ok := table.Realised("bad"); ok {
		t.Error("a refused row counts as realised")
	}
	k.refuse = ""
	noError(t, table.Sync())
	k.wantCalls(t, "put bad=1")

	k.refuse = "bad"
	table.Unset("bad")
	if err := table.Sync(); err == nil || !strings.Contains(err.Error(), "delete bad") {
		t.Errorf("got error %v", err)
	}
	k.refuse = ""
	k.calls = nil
	noError(t, table.Sync())
	k.wantCalls(t, "delete bad")
}

func TestKeep(t *testing.T) {
	k := &kernel{rows: map[string]int{}}
	table := New("t", k)
	for i, key := range []string{"a", "b", "c"} {
		table.SetDesired(key, i)
	}
	noError(t, table.Sync())
	k.calls = nil
	table.Keep(func(_ string, v int) bool { return v == 1 })
	noError(t, table.Sync())
	k.wantCalls(t, "delete a", "delete c")
}

func TestListRefused(t *testing.T) {
	table := New("the table", &kernel{refuse: "list"})
	if err := table.Resync(); err == nil || !strings.Contains(err.Error(), "the table: list") {
		t.Errorf("got error %v", err)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
