// SPDX-License-Identifier: Apache-2.0

// Package faulty makes builds of Fairlead that must not reach a fleet, for the tests of what
// stops them: Overlay has the go command compile a fault into the product's own source
// (go build -overlay), Pack makes the charts by which such versions are rolled out.
//
// Nothing of it is part of the product, which knows of no fault.
package faulty
