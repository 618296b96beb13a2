// SPDX-License-Identifier: Apache-2.0

// Package pathmtu measures real paths between network namespaces that lose what is too
// large in each of the ways that networks do.
package pathmtu
