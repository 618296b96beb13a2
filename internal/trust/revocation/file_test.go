// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), Key)
	quiet := slog.New(slog.DiscardHandler)
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	alpha := entry("alpha", start)
	f := NewFile(path, quiet)
	count := func(want int) {
		t.Helper()
		if l, err := f.List(); err != nil || l.Len() != want {
			t.Errorf("got %d entries, %v; want %d", l.Len(), err, want)
		}
	}
	count(0) // no file
	put(string(with(t, List{}, start, alpha).Encode()))
	count(1)
	count(1)
	put("rubbish\n")
	count(1) // the last good one stays
	count(1)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	count(0)

	put("rubbish that is there from the beginning\n")
	f = NewFile(path, quiet)
	for range 2 {
		if _, err := f.List(); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("nothing is known of who is revoked, and everybody is accepted: %v", err)
		}
	}
	put(string(with(t, List{}, start, alpha, entry("bravo", start)).Encode()))
	count(2)
}
