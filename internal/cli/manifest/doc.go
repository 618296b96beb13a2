// SPDX-License-Identifier: Apache-2.0

// Package manifest reads the NetworkStacks of a file strictly: a field that is not there, is
// twice there, or has another type is an error that names it and its line.
//
// It is pure. What the API server's own rules say of a value is the API server's to say.
package manifest
