// SPDX-License-Identifier: Apache-2.0

package provider

import _ "embed"

// CRDs are this provider's kinds. Class is the ClusterClass lab with its templates, in the namespace of
// the fleet. Both are YAML to apply on a management cluster that has Cluster API.
var (
	//go:embed manifests/crds.yaml
	CRDs []byte
	//go:embed manifests/class.yaml
	Class []byte
)
