// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// NodeNetwork and AddressPool live in workload clusters, so their CRDs are part of the cni
// chart; the others are part of the operator's chart and of config.
//
//go:generate go tool controller-gen object:headerFile=boilerplate.go.txt crd paths=. output:crd:dir=../../config/crd/bases
//go:generate mv ../../config/crd/bases/fairlead.io_nodenetworks.yaml ../../config/crd/bases/fairlead.io_addresspools.yaml ../../charts/cni/crds/
//go:generate cp ../../config/crd/bases/fairlead.io_networkstacks.yaml ../../config/crd/bases/fairlead.io_clusterstacks.yaml ../../config/crd/bases/fairlead.io_fleetpools.yaml ../../charts/fairlead-operator/crds/
