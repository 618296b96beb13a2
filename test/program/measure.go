// SPDX-License-Identifier: Apache-2.0

package program

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ResidentMiB is the memory that the program has in use.
func (p *Program) ResidentMiB() (float64, error) { return p.memory("VmRSS:") }

// PeakMiB is the most memory that the program has had in use.
func (p *Program) PeakMiB() (float64, error) { return p.memory("VmHWM:") }

func (p *Program) memory(field string) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("memory of %s: %w", p.Name, err)
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, field); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("memory of %s: /proc/PID/status has no %s", p.Name, field)
}

// ticks is the unit of CPU times in /proc, per second (USER_HZ).
const ticks = 100

// CPUSeconds is the time that the program has used of processors.
func (p *Program) CPUSeconds() (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("CPU time of %s: %w", p.Name, err)
	}
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("CPU time of %s: /proc/PID/stat is short", p.Name)
	}
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticks, errors.Join(err1, err2)
}
