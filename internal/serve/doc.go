// SPDX-License-Identifier: Apache-2.0

// Package serve is the delta xDS server. It owns the store of encoded resources,
// the subscriptions, and the bookkeeping of who has acknowledged what; it must not
// know what a resource means, where it comes from, or how certificates are issued.
//
// Rules that the package keeps:
//
//   - A version counts as held when the subscriber acknowledged it, never when it was
//     sent. What a subscriber names on reconnecting (initial_resource_versions) it has
//     acknowledged before.
//   - One response of a type is in flight at a time; what changes meanwhile is merged.
//   - A refused response is cut in halves until the culprit is alone. The culprit stays
//     at the subscriber's last good version and is visible with the refusal's words; all
//     others get through. It is tried again when its content changes, on a new stream,
//     and after growing pauses, since the cause may have been on the subscriber's side.
//   - A subscriber sees the shared resources and those of its own scope, no others.
//   - Nobody waits for a subscriber: changes only mark what it has to look at.
package serve

import "time"

// Options tune a Server. Zero values take the defaults.
type Options struct {
	// MaxResources and MaxBytes bound one response (16,384 and 3 MiB; gRPC clients
	// accept 4 MiB unless told otherwise).
	MaxResources, MaxBytes int
	// RetryRefused is the pause before a refused resource is tried again (5 s); it
	// doubles up to MaxRetryRefused (5 min).
	RetryRefused, MaxRetryRefused time.Duration
	// MaxTypes and MaxNames bound what one stream can subscribe to (32 types,
	// 100,000 names a type).
	MaxTypes, MaxNames int
	// Unanswered are types that subscribers may ask for and that are somebody else's: an
	// empty answer would take from them what they hold.
	Unanswered []string
	// Optional are types that a subscriber need not ask for to be in sync: agents of an
	// earlier version do not know them.
	Optional []string
}

func (o Options) withDefaults() Options {
	set(&o.MaxResources, 16384)
	set(&o.MaxBytes, 3<<20)
	set(&o.RetryRefused, 5*time.Second)
	set(&o.MaxRetryRefused, 5*time.Minute)
	set(&o.MaxTypes, 32)
	set(&o.MaxNames, 100_000)
	return o
}

func set[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}
