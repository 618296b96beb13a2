// SPDX-License-Identifier: Apache-2.0

// Package announce lets processes of several nodes, in network namespaces on one bridge,
// announce an address, kills them, cuts them off, and looks whom a client comes to.
package announce
