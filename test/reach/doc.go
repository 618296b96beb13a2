// SPDX-License-Identifier: Apache-2.0

// Package reach tells from when to when packets pass on a path. A watch sends on several paths at
// once, as often as once in a millisecond, and reports each change with the time at which the packet
// was sent that was the first to pass, or the first that did not. The server at the other end counts
// what arrives, since a packet that must not pass may do so without an answer.
//
// Times are those of the machine's clock, so that pods of one machine can be compared. What a path
// is closed and opened by is not this package's business.
package reach
