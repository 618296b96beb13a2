// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"os"
	"os/exec"

	"github.com/fairlead-io/fairlead/test/program"
)

// goMemory is what the operator gives the garbage collector in a container of 1 GiB
// (cmd/fairlead/operatorrun).
const goMemory = "819MiB"

// startOperator runs the operator exe against a management cluster. What it says goes to the file log.
func startOperator(exe, kubeconfig, log string, args ...string) (*program.Program, error) {
	cmd := exec.Command(exe, append([]string{"operator", "--leader-election=false", "--health-address=0", "--metrics-address=0"}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "GOMEMLIMIT="+goMemory)
	return program.Start("operator", log, cmd)
}
