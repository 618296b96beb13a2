/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* From a virtual address and port to a backend. */
#pragma once
#include "clock.h"
#include "flow.h"
#include "maps.h"

/* How often a reader that met a change half-way looks again. */
#define CHOICE_TRIES 4

static __always_inline int is_node_address(const struct address *a)
{
	return bpf_map_lookup_elem(&fl_node_addrs, a) != 0;
}

/* find_frontend returns the frontend at an address and port: that of the very address, else
 * a port of every address of the node. */
static __always_inline struct frontend *find_frontend(const struct address *a, __be16 port, __u8 protocol)
{
	struct frontend_key key = { .address = *a, .port = port, .protocol = protocol };
	struct frontend *f = bpf_map_lookup_elem(&fl_frontends, &key);

	if (f || !is_node_address(a))
		return f;
	key.address.word[0] = key.address.word[1] = key.address.word[3] = 0;
	key.address.word[2] = is_ipv4(a) ? bpf_htonl(0xffff) : 0;
	return bpf_map_lookup_elem(&fl_frontends, &key);
}

/* A backend that was chosen. */
struct choice {
	struct backend backend;
	__u32 number;
};

enum choice_answer {
	CHOICE_MADE = 0,
	CHOICE_EMPTY = 1, /* the pool has no backend */
	CHOICE_CHANGING = 2, /* the pool was being changed all the time; the packet is best lost */
};

/* choose picks the backend that a client's hash falls to. */
static __always_inline enum choice_answer choose(__u32 pool, __u32 hash, struct choice *c)
{
	for (int i = 0; i < CHOICE_TRIES; i++) {
		struct pool *p = bpf_map_lookup_elem(&fl_pools, &pool);
		struct backend *b;
		__u32 slot, slots, *number;

		if (!p)
			return CHOICE_EMPTY;
		slots = READ_ONCE(p->slots);
		if (!slots)
			return CHOICE_EMPTY;
		slot = READ_ONCE(p->base) + (hash & (slots - 1));
		number = bpf_map_lookup_elem(&fl_slots, &slot);
		if (!number)
			continue;
		c->number = READ_ONCE(*number);
		b = bpf_map_lookup_elem(&fl_backends, &c->number);
		if (!b)
			continue;
		c->backend = *b;
		barrier();
		if (c->backend.pool == pool)
			return CHOICE_MADE;
	}
	return CHOICE_CHANGING;
}

/* What is known of the backend that a client had before. */
enum former {
	FORMER_NONE = 0, /* nothing, or it is gone */
	FORMER_CHOSEN = 1,
	FORMER_EXPIRED = 2, /* the client was away for too long */
};

/* choose_again chooses the backend that a client had before, if it is still there and the client
 * has not been away for longer than so many seconds. */
static __always_inline enum former choose_again(const struct affinity_key *key, __u32 seconds, struct choice *c)
{
	struct affinity *a = bpf_map_lookup_elem(&fl_affinities, key);
	__u32 now = tick(), number;
	struct backend *b;

	if (!a)
		return FORMER_NONE;
	if (now - a->seen > (__u64)seconds * 1000000000 >> 30)
		return FORMER_EXPIRED;
	number = a->backend;
	b = bpf_map_lookup_elem(&fl_backends, &number);
	if (!b)
		return FORMER_NONE;
	c->number = number;
	c->backend = *b;
	barrier();
	if (c->backend.pool != key->pool || !same_address(&c->backend.address, &a->address))
		return FORMER_NONE;
	a->seen = now;
	return FORMER_CHOSEN;
}

/* note_choice has the client come to the same backend the next time. */
static __always_inline void note_choice(const struct affinity_key *key, const struct choice *c)
{
	struct affinity a = { .backend = c->number, .seen = tick(), .address = c->backend.address };

	bpf_map_update_elem(&fl_affinities, key, &a, BPF_ANY);
}
