// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/fairlead-io/fairlead/test/kernelmatrix/report"
)

func TestNewestByNumber(t *testing.T) {
	for _, c := range [][2]string{
		{"linux-image-6.1.0-9-amd64", "linux-image-6.1.0-56-amd64"},
		{"linux-image-6.12.99+deb12-amd64", "linux-image-6.12.117+deb12-amd64"},
	} {
		if compareNames(c[0], c[1]) >= 0 {
			t.Errorf("%s is taken for newer than %s", c[0], c[1])
		}
	}
}

// TestFollow: what a machine says decides, and what a reader is shown follows from it.
func TestFollow(t *testing.T) {
	for _, c := range []struct {
		name     string
		console  []string
		last     string
		show     []string
		showNone []string
	}{
		{
			name:    "passed",
			console: []string{"BIOS", "=== RUN   TestA", "--- PASS: TestA (0.1s)", report.Mark + "tests ok", report.Mark + report.Passed},
			last:    report.Passed,
			show:    []string{"--- PASS: TestA", "tests ok"}, showNone: []string{"BIOS", "=== RUN"},
		},
		{
			name:    "failed",
			console: []string{report.Mark + "probe ok", "invalid bpf_context access", report.Mark + "from_pod FAILED", report.Mark + report.Failed},
			last:    report.Failed,
			show:    []string{"invalid bpf_context access", "from_pod FAILED"},
		},
		{
			name:    "died",
			console: []string{report.Mark + "probe ok", "Kernel panic - not syncing"},
			last:    "probe ok",
		},
		{name: "said nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log, reader bytes.Buffer
			console := strings.Join(c.console, "\r\n")
			last, err := follow(strings.NewReader(console), &log, &reader)
			if err != nil || last != c.last {
				t.Errorf("last said %q (%v), want %q", last, err, c.last)
			}
			for _, s := range c.show {
				if !strings.Contains(reader.String(), s) {
					t.Errorf("the reader is not shown %q:\n%s", s, reader.String())
				}
			}
			for _, s := range c.showNone {
				if strings.Contains(reader.String(), s) {
					t.Errorf("the reader is shown %q:\n%s", s, reader.String())
				}
			}
			if got := strings.TrimSuffix(log.String(), "\n"); got != strings.ReplaceAll(console, "\r", "") {
				t.Errorf("the log holds:\n%s", got)
			}
		})
	}
}

func TestDependenciesOfWhatIsNoModule(t *testing.T) {
	if _, err := dependencies([]byte("not an ELF file")); err == nil {
		t.Error("text is taken for a module")
	}
}

// TestCPIO writes an archive and compares it, byte for byte, with the format's description.
func TestCPIO(t *testing.T) {
	var got bytes.Buffer
	if err := writeCPIO(&got, []file{{"a/b", []byte("hello"), 0o755}}); err != nil {
		t.Fatal(err)
	}
	entry := func(inode, mode, size, nameSize, rest string) string {
		const zero = "00000000"
		return "070701" + inode + mode + zero + zero + "00000001" + zero + size + zero + zero + zero + zero + nameSize + zero + rest
	}
	want := entry("00000001", "000041ed", "00000000", "00000002", "a\x00") +
		entry("00000002", "000081ed", "00000005", "00000004", "a/b\x00\x00\x00"+"hello\x00\x00\x00") +
		entry("00000003", "00000000", "00000000", "0000000b", "TRAILER!!!\x00\x00\x00\x00")
	if got.String() != want {
		t.Errorf("got  %q\nwant %q", got.String(), want)
	}
}
