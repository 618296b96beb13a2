// SPDX-License-Identifier: Apache-2.0

// Package gitops tests what Argo CD (its health scripts), Flux (its expressions) and kstatus
// say of Fairlead's objects in each of their states.
package gitops
