// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Logs lists the lab's log files, those of a machine, or copies that of one service.
func (l *Lab) Logs(out io.Writer, machineAndService ...string) error {
	pattern := filepath.Join(l.Plan.Dir, "logs", "*")
	if len(machineAndService) > 0 {
		m, err := l.Plan.Machine(machineAndService[0])
		if err != nil {
			return err
		}
		pattern = m.Logs
	}
	if len(machineAndService) > 1 {
		f, err := os.Open(filepath.Join(pattern, machineAndService[1]+".log"))
		if err != nil {
			return fmt.Errorf("no such log, see `lab logs %s`: %w", machineAndService[0], err)
		}
		defer f.Close()
		_, err = io.Copy(out, f)
		return err
	}
	files, err := filepath.Glob(filepath.Join(pattern, "*.log"))
	if err != nil {
		return err
	}
	for _, f := range files {
		fmt.Fprintln(out, f)
	}
	return nil
}
