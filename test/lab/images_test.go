// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-io/fairlead/test/lab/plan"
)

// A node that is born gets what was loaded, in that order: of two images of one name, the later counts.
func TestLoadedImagesAreKeptInOrder(t *testing.T) {
	dir := t.TempDir()
	l, err := New(plan.Settings{Dir: filepath.Join(dir, "lab"), Kubernetes: plan.DefaultKubernetes, CAPI: true}, dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	archive := func(content string) string {
		path := filepath.Join(dir, content+".tar")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old, next := archive("old"), archive("next")
	for _, a := range []string{old, next, old} { // Back to the old one in the end.
		if err := l.keepImages([]string{a}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(next); err != nil { // Whoever built it cleans up.
		t.Fatal(err)
	}
	all, err := l.archives()
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, a := range all[len(l.Builder.Images()):] {
		raw, err := os.ReadFile(a)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, string(raw))
	}
	if got := strings.Join(kept, " "); got != "next old" {
		t.Errorf("kept are %q; want next, then old", got)
	}
	if err := l.keepImages([]string{next}); err == nil || !strings.Contains(err.Error(), next) {
		t.Errorf("an archive that is not there is not named: %v", err)
	}
}
