// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"path/filepath"
)

// CoreManager is the binary of Cluster API's core manager.
const CoreManager = "cluster-api-core"

// clusterAPI builds the core manager from the module that pins Cluster API's managers.
func (b Builder) clusterAPI(ctx context.Context) error {
	home := filepath.Join(b.Checkout, "test", "capi", "tools")
	release, err := requiredVersion(filepath.Join(home, "go.mod"), capi)
	if err != nil {
		return err
	}
	return b.Ensure(ctx, Target{
		Name: "Cluster API " + release, Dir: home, Sources: home, Hint: "about two minutes the first time",
		// The manager keeps the version that it reports in the CRDs' and providers' labels.
		Flags:    []string{"-ldflags=-s -w -X " + capi + "/version.gitVersion=" + release},
		Packages: map[string]string{CoreManager: capi + "/core"},
	})
}
