// SPDX-License-Identifier: Apache-2.0

// Package notify tells other systems what happens to rollouts: CloudEvents 1.0 by HTTP POST
// to one sink.
//
// It never holds up who tells it something: events wait in a bounded queue, are tried again
// while the sink is away, and are counted when they are dropped. It must not decide what is
// worth telling.
package notify
