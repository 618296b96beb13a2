// SPDX-License-Identifier: Apache-2.0

// Package standby runs two agents on one node, as a DaemonSet with a surge does: one serves,
// the other stands by and comes after it. The agents are the real program, on what looks like a
// node, without a controller.
package standby

import (
	"os"
	"testing"

	"github.com/fairlead-io/fairlead/test/asnode"
)

func TestMain(m *testing.M) { os.Exit(asnode.Run(m, "fairlead-agent")) }
