// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"path/filepath"

	"github.com/fairlead-io/fairlead/test/capi"
	"github.com/fairlead-io/fairlead/test/lab/kube"
)

// clusterAPI puts Cluster API's core manager among the binaries of the lab's own version, where the
// hub finds it.
func (b Builder) clusterAPI(ctx context.Context) error {
	program, err := b.source().Program(ctx, capi.Core)
	if err != nil {
		return err
	}
	return copyBinary(program, filepath.Join(b.Bin(), kube.CoreManager))
}

// CoreConfig is the folder of the core manager's CRDs and webhooks.
func (b Builder) CoreConfig(ctx context.Context) (string, error) {
	return b.source().Config(ctx, capi.Core)
}

func (b Builder) source() capi.Source { return capi.Source{Checkout: b.Checkout, Progress: b.Progress} }
