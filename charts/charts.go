// SPDX-License-Identifier: Apache-2.0

// Package charts embeds the charts that the operator installs in workload clusters.
// The operator's own chart, fairlead-operator, is not among them: people install it.
package charts

import "embed"

// CNIRoot is the folder of the cni chart in CNI.
const CNIRoot = "cni"

// CNI holds the cni chart: controller, agents, CNI plugin and their CRDs. The
// prefix all: keeps files that begin with an underscore, which charts use.
//
//go:embed all:cni
var CNI embed.FS
