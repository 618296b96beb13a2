// SPDX-License-Identifier: Apache-2.0

// Package supervise is the lab's one long-running process on the host: it listens on 127.0.0.1 for
// people and tests, passes their connections to the API servers inside the lab, and plays the
// outside host. Others may run beside these in the process. Machines run without it.
package supervise
