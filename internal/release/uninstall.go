// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"errors"
	"slices"

	"github.com/fairlead-io/fairlead/internal/helm"
	"github.com/fairlead-io/fairlead/internal/objects"
)

// uninstall removes the release's objects and its history. CRDs stay until
// RemoveCRDs.
func (t *Target) uninstall(ctx context.Context) error {
	history := t.seen.History
	if len(history) == 0 {
		return nil
	}
	newest, err := t.load(ctx, history[0])
	if err != nil && !errors.Is(err, errUnreadable) {
		return err
	}
	if err == nil && newest.Status() != helm.StatusUninstalling {
		newest.SetStatus(helm.StatusUninstalling, "Deletion in progress")
		if _, err := t.store(ctx, newest, history[0].Labels); err != nil {
			return err
		}
	}
	records, _, err := t.former(ctx, history[0].Revision+1)
	if err != nil {
		return err
	}
	for _, r := range records {
		all, err := t.objectsOf(r)
		if err != nil {
			return err
		}
		// Workloads go before the rights that they have.
		for _, o := range slices.Backward(all) {
			if _, err := t.objects.Delete(ctx, objects.RefOf(o)); err != nil {
				return err
			}
		}
	}
	// The newest record goes last: until then it says that the rest has to go.
	for _, e := range slices.Backward(history) {
		if err := t.secrets.Delete(ctx, e.Secret); err != nil {
			return err
		}
	}
	return nil
}
