// SPDX-License-Identifier: Apache-2.0

package operatorrun

import (
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// heldBack is one of how many parts of the container's memory that the garbage collector
// leaves alone, for what it does not count.
const heldBack = 5

// limitFiles say what a container may use: of control groups version 2, and of version 1.
var limitFiles = []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}

// limitMemory has the garbage collector work harder before the container's limit is reached,
// whatever that is: the operator's memory grows with the fleet. GOMEMLIMIT goes before.
func limitMemory(log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	for _, name := range limitFiles {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if limit, ok := memoryLimit(string(raw)); ok {
			debug.SetMemoryLimit(limit)
			log.Info("limiting memory", "bytes", limit)
		}
		return
	}
}

// memoryLimit is what the garbage collector gets of a control group's limit; not ok is no limit.
func memoryLimit(said string) (bytes int64, ok bool) {
	limit, err := strconv.ParseInt(strings.TrimSpace(said), 10, 64)
	// Version 1 says that there is none by a number that no machine has.
	if err != nil || limit <= 0 || limit >= 1<<60 {
		return 0, false
	}
	return limit - limit/heldBack, true
}
