// SPDX-License-Identifier: Apache-2.0

package program

import (
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
