// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// tools are the host's programs that a lab runs, with the Debian and Ubuntu packages that bring them.
var tools = []struct{ program, pkg string }{
	{"runc", "runc"},
	{"nft", "nftables"},
	{"mount", "mount"},
	{"nsenter", "util-linux"},
}

// CheckHost says what is missing on this host, and how to install it.
func CheckHost() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("the lab makes namespaces and cgroups, which takes root: run it with sudo")
	}
	var programs, packages []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			if _, err := exec.LookPath("/usr/sbin/" + t.program); err != nil {
				programs, packages = append(programs, t.program), append(packages, t.pkg)
			}
		}
	}
	if len(packages) > 0 {
		return fmt.Errorf("missing on this machine: %s; install with: apt-get install -y %s",
			strings.Join(programs, ", "), strings.Join(packages, " "))
	}
	return nil
}
