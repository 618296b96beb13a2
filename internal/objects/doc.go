// SPDX-License-Identifier: Apache-2.0

// Package objects reads and writes single objects of one cluster by their kind, one
// request each: Helm's own client takes three, and asks what the server serves once a
// client. It also compares what a manifest sets with what is there.
//
// It must not know releases or charts, and it decides nothing: what is written and whose
// fields may be taken is for its callers to say.
package objects
