/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Which flows must take the host's network stack.
 *
 * Services are translated by the stack: pod A asks a service, the stack rewrites the
 * destination to pod B and sends the packet on, and the answer of B to A must meet the
 * stack again to be rewritten back. So the hooks where packets leave the stack towards
 * a pod note every flow between pods, and the hooks where packets could bypass the
 * stack look there before they decide that a connection does. */
#pragma once
#include "connection.h"
#include "range.h"

static __always_inline int goes_via_stack(const struct packet *p)
{
	struct flow f;

	if (!(p->flags & PACKET_FLOW))
		return 0;
	flow_key(p, &f);
	return bpf_map_lookup_elem(&fl_via_stack, &f) != 0;
}

/* note_via_stack remembers the flow of a packet that comes out of the stack, when its
 * source is a pod. The lookup keeps a row that is in use from being evicted, and saves
 * the write. A connection that went past the stack on the same ports is over. */
static __always_inline void note_via_stack(const struct packet *p)
{
	struct flow_note note = { .noted = 1 };
	struct flow f;

	if (!(p->flags & PACKET_FLOW) || (p->flags & PACKET_ICMP_ERROR) || !is_pod(&p->src))
		return;
	flow_key(p, &f);
	if (bpf_map_lookup_elem(&fl_via_stack, &f))
		return;
	bpf_map_update_elem(&fl_via_stack, &f, &note, BPF_ANY);
	forget_connection(&f);
}
