// SPDX-License-Identifier: Apache-2.0

// Package watch says when the machine's network is another than before: devices, their
// addresses, default routes, and routes of Fairlead's. Who repairs the datapath then
// need not wait for the clock.
//
// The kernel's notifications say only when to look. What counts is whether the machine
// looks different from the last time: a row that was written anew as it was, or an
// address whose lifetime was prolonged, is no change. So a repair that has nothing to
// repair brings no further one, and the two cannot chase each other.
//
// The package must not know what is done about a change, and changes nothing.
package watch
