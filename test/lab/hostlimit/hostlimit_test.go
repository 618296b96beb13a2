// SPDX-License-Identifier: Apache-2.0

package hostlimit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLimit(t *testing.T) {
	for _, tc := range []struct {
		name  string
		start string
		steps string // +a: lab a comes; -a: it goes; !N: someone sets N.
		want  string
		gone  bool // The record is gone.
	}{
		{"one lab comes", "128", "+a", "1024", false},
		{"one lab comes and goes", "128", "+a -a", "128", true},
		{"up twice, down once", "128", "+a +a -a", "128", true},
		{"the first of two goes", "128", "+a +b -a", "1024", false},
		{"both go", "128", "+a +b -a -b", "128", true},
		{"the limit was high enough", "4096", "+a", "4096", true},
		{"it was raised further meanwhile", "128", "+a !8192 -a", "8192", true},
		{"it was lowered meanwhile, and a second lab comes", "128", "+a !256 +b", "1024", false},
		{"a lab that never came goes", "128", "-a", "128", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			l := Limit{File: filepath.Join(dir, "limit"), Want: 1024, State: filepath.Join(dir, "state")}
			set := func(v string) {
				if err := os.WriteFile(l.File, []byte(v+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			set(tc.start)
			for _, step := range strings.Fields(tc.steps) {
				var err error
				switch who := step[1:]; step[0] {
				case '+':
					err = l.Raise(who)
				case '-':
					err = l.Release(who)
				case '!':
					set(who)
				}
				if err != nil {
					t.Fatalf("%s: %v", step, err)
				}
			}
			got, err := os.ReadFile(l.File)
			if err != nil || strings.TrimSpace(string(got)) != tc.want {
				t.Errorf("the limit is %q, %v; want %s", got, err, tc.want)
			}
			if exists(l.State) == tc.gone {
				t.Errorf("record exists: %v", !tc.gone)
			}
		})
	}
}
