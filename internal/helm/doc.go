// SPDX-License-Identifier: Apache-2.0

// Package helm is the only importer of helm.sh/helm: it loads charts, renders them, and
// reads and writes the records of releases as Helm stores them, so that `helm list`,
// `helm history` and `helm rollback` know what Fairlead did.
//
// It makes no request but to ask what an API server serves, and it decides nothing: which
// objects are applied and which record is written is the matter of internal/release. CRDs
// of a chart are handed out (Chart.CRDs), never rendered, because Helm would not upgrade
// them. Hooks of a chart are not run.
package helm
