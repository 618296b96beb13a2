// SPDX-License-Identifier: Apache-2.0

package program

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build builds a program of this repository into a folder, as a release does. checkout is the
// repository's root, source its package there, such as ./cmd/fairlead.
func Build(checkout, source, dir string) (string, error) {
	out, err := filepath.Abs(filepath.Join(dir, filepath.Base(source)))
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-ldflags", "-s -w -X github.com/fairlead-io/fairlead/internal/version.Version=v0.1.0", "-o", out, source)
	cmd.Dir, cmd.Env = checkout, append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", source, err, said)
	}
	return out, nil
}
