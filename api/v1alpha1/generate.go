// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// NodeNetwork lives in workload clusters, so its CRD is part of the cni chart; the
// others are part of the operator's chart and of config.
//
//go:generate go tool controller-gen object:headerFile=boilerplate.go.txt crd paths=. output:crd:dir=../../config/crd/bases
//go:generate mv ../../config/crd/bases/fairlead.io_nodenetworks.yaml ../../charts/cni/crds/fairlead.io_nodenetworks.yaml
//go:generate cp ../../config/crd/bases/fairlead.io_networkstacks.yaml ../../config/crd/bases/fairlead.io_clusterstacks.yaml ../../charts/fairlead-operator/crds/
