// SPDX-License-Identifier: Apache-2.0

// Package cni drives the real plugin as a container runtime does (libcni), against
// the real CNI server, endpoints and datapath, on what looks like a node.
package cni

import (
	"os"
	"testing"

	"github.com/fairlead-io/fairlead/test/asnode"
)

func TestMain(m *testing.M) { os.Exit(asnode.Run(m, "fairlead-cni")) }
