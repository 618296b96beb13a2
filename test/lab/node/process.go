// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/fairlead-io/fairlead/test/lab/atomicfile"
)

// PIDFile names a process so that a later process with the same number is not taken for it.
type PIDFile string

// InitPID is the file that names a machine's init.
func InitPID(machineDir string) PIDFile { return PIDFile(filepath.Join(machineDir, "init.pid")) }

// Write records the process.
func (f PIDFile) Write(pid int) error {
	start, err := startTime(pid)
	if err != nil {
		return err
	}
	return atomicfile.Write(string(f), fmt.Appendf(nil, "%d %s\n", pid, start), 0o644)
}

// Alive returns the process while it runs, and else 0.
func (f PIDFile) Alive() int {
	raw, err := os.ReadFile(string(f))
	if err != nil {
		return 0
	}
	words := strings.Fields(string(raw))
	if len(words) != 2 {
		return 0
	}
	pid, err := strconv.Atoi(words[0])
	if err != nil {
		return 0
	}
	if start, err := startTime(pid); err != nil || start != words[1] {
		return 0
	}
	return pid
}

// startTime is in clock ticks since the machine's start. A zombie counts as gone.
func startTime(pid int) (string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The name in parentheses may hold anything, so count from its end.
	words := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if len(words) < 20 || words[0] == "Z" || words[0] == "X" {
		return "", os.ErrProcessDone
	}
	return words[19], nil
}
