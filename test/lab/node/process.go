// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

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

// pfExiting is PF_EXITING of the kernel's task flags: the process is on its way out.
const pfExiting = 0x4

// startTime is in clock ticks since the machine's start. A process that was killed counts
// as gone from that moment: the init of a PID namespace takes a while to end, because all
// of its namespace ends first.
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
	if flags, err := strconv.ParseUint(words[6], 10, 64); err != nil || flags&pfExiting != 0 || killed(pid) {
		return "", os.ErrProcessDone
	}
	return words[19], nil
}

// killed says whether a SIGKILL is pending for a process.
func killed(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(raw)) {
		name, mask, _ := strings.Cut(line, ":")
		if name != "SigPnd" && name != "ShdPnd" {
			continue
		}
		if pending, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64); err == nil && pending&(1<<(uint(syscall.SIGKILL)-1)) != 0 {
			return true
		}
	}
	return false
}
