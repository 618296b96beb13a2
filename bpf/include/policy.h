/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What policies let through. Only the first packet of a connection asks, and one after each
 * change of what was allowed: the table of connections has the answer for the others.
 *
 * A connection is judged as its opener began it, so whoever may be asked may answer. Who opened it
 * is in the connection's row. TCP within a connection that has no row (the table was made anew,
 * or is full) passes when it could be either's: it opens nothing.
 *
 * What the node's host itself sends to its pods is let through: it is their kubelet's.
 *
 * Where kube-proxy translates Services in the host's stack, what a pod sends to an address that
 * is no pod's may go elsewhere than it seems. What is not allowed as it stands gets a mark
 * then, and is judged where it leaves the stack. */
#pragma once
#include "count.h"
#include "range.h"
#include "work.h"

/* is_host says whether an address is the node's own, or its router's, which is unspecified where
 * the node has no pods of the family. */
static __always_inline int is_host(const struct address *a)
{
	return is_node_address(a) || (is_router(a) && !is_unspecified(a));
}

/* class_of returns the class of an address. */
static __always_inline __u64 class_of(const struct address *a)
{
	struct range_key key = { .prefixlen = 128, .address = *a };
	struct class *c = bpf_map_lookup_elem(&fl_classes, &key);

	return c ? c->id : 0;
}

/* allows says whether a ruleset lets a connection with a peer through, and leaves the cause. */
__noinline int allows(__u64 ruleset, struct address *peer, __u32 protocol, __u32 port)
{
	struct policy_key key = { .ruleset = ruleset };
	struct work *w = work();
	struct port_key at;
	struct policy *p;
	struct verdict *v;

	if (!w || !peer)
		return 0;
	w->judged.cause = 0;
	key.class = class_of(peer);
	p = bpf_map_lookup_elem(&fl_policies, &key);
	if (!p && key.class) {
		key.class = 0;
		p = bpf_map_lookup_elem(&fl_policies, &key);
	}
	if (!p)
		return 0;
	at.prefixlen = 96;
	__builtin_memcpy(at.ports, &p->ports, sizeof(at.ports));
	at.protocol = protocol;
	at.pad = 0;
	at.port = port;
	v = bpf_map_lookup_elem(&fl_ports, &at);
	if (!v)
		return 0;
	w->judged.cause = v->cause;
	return v->allow;
}

/* may_begin says whether the source of the judged packet may open its connection: DIRECTION_EGRESS
 * and DIRECTION_INGRESS tell which pod's policies say no, 0 that none does. */
__noinline int may_begin(void)
{
	struct work *w = work();
	struct judged *j;

	if (!w)
		return DIRECTION_EGRESS;
	j = &w->judged;
	if (j->source.egress && !allows(j->source.egress, &j->ends.dst, j->ends.protocol, j->ends.dport))
		return DIRECTION_EGRESS;
	if (j->dest.ingress && !j->from_host && !allows(j->dest.ingress, &j->ends.src, j->ends.protocol, j->ends.dport))
		return DIRECTION_INGRESS;
	return 0;
}

/* may_answer says the same of the packet's destination. */
__noinline int may_answer(void)
{
	struct work *w = work();
	struct judged *j;

	if (!w)
		return DIRECTION_EGRESS;
	j = &w->judged;
	if (j->dest.egress && !allows(j->dest.egress, &j->ends.src, j->ends.protocol, j->ends.sport))
		return DIRECTION_EGRESS;
	if (j->source.ingress && !is_host(&j->ends.dst) && !allows(j->source.ingress, &j->ends.dst, j->ends.protocol, j->ends.sport))
		return DIRECTION_INGRESS;
	return 0;
}

/* forbid drops a packet by a policy. */
__noinline int forbid(struct __sk_buff *skb, __u32 direction)
{
	__u32 reason = direction == DIRECTION_INGRESS ? REASON_DROP_INGRESS : REASON_DROP_EGRESS;
	struct work *w = work();
	struct events *e = events();

	count(skb, THIS_HOOK, reason);
	if (!w || !e || !may_tell(e, skb, THIS_HOOK, reason))
		return TC_ACT_SHOT;
	e->event.cause = w->judged.cause;
	e->event.src = w->judged.ends.src;
	e->event.dst = w->judged.ends.dst;
	e->event.sport = w->judged.ends.sport;
	e->event.dport = w->judged.ends.dport;
	e->event.protocol = w->judged.ends.protocol;
	e->event.direction = direction;
	tell(e);
	return TC_ACT_SHOT;
}

static __always_inline void find_subject(struct subject *s, const struct address *a)
{
	struct endpoint *ep = bpf_map_lookup_elem(&fl_endpoints, a);

	s->ingress = ep ? ep->ingress : 0;
	s->egress = ep ? ep->egress : 0;
}

/* find_source finds the pod that has sent a packet, by its device where its address may not be its
 * own any more. */
static __always_inline void find_source(struct __sk_buff *skb, struct subject *s, const struct address *a)
{
	__u32 device = skb->ingress_ifindex;
	struct subject *by_device;

	find_subject(s, a);
	if (THIS_HOOK == HOOK_FROM_POD || !(skb->mark & MARK_DEFERRED))
		return;
	by_device = bpf_map_lookup_elem(&fl_subjects, &device);
	if (by_device)
		*s = *by_device;
}

static __always_inline int is_policed(const struct judged *j)
{
	return (j->source.ingress | j->source.egress | j->dest.ingress | j->dest.egress) != 0;
}

/* has_answers says whether packets that go the other way are of the same connection. */
static __always_inline int has_answers(const struct packet *p)
{
	if (!(p->flags & PACKET_FLOW) || (p->flags & PACKET_ICMP_ERROR))
		return 0;
	if (p->protocol == IPPROTO_ICMP)
		return p->icmp_type == ICMP_ECHO || p->icmp_type == ICMP_ECHOREPLY;
	if (p->protocol == IPPROTO_ICMPV6)
		return p->icmp_type == ICMPV6_ECHO_REQUEST || p->icmp_type == ICMPV6_ECHO_REPLY;
	return 1;
}

/* tcp_flags_of returns those of the work's packet. Of one that ends before them it is said that it
 * opens a connection. */
static __always_inline __u8 tcp_flags_of(struct __sk_buff *skb, const struct packet *p)
{
	__u8 flags;

	if (p->protocol != IPPROTO_TCP || !(p->flags & PACKET_FLOW) || (p->flags & PACKET_ICMP_ERROR))
		return 0;
	if (bpf_skb_load_bytes(skb, p->transport + 13, &flags, sizeof(flags)) < 0)
		return TCP_SYN;
	return flags;
}

/* keep_verdict writes down that a connection is allowed, or who is to judge it, and who opened it. */
static __always_inline void keep_verdict(struct judged *j, int by_source, __u32 verdict)
{
	__u32 by_b = by_source ? j->course.packet.direction : !j->course.packet.direction;

	j->course.verdict = CONNECTION_OPENED | verdict | (by_b ? CONNECTION_OPENED_B : 0);
	j->course.path.kind = PATH_NONE;
	j->course.path.flags = 0;
	remember(&j->course);
}

/* is_borrowed says whether a packet that from_pod has put off has an address as source that is not
 * its pod's: a connection of another pod may have left by the same ports. */
static __always_inline int is_borrowed(const struct __sk_buff *skb, const struct address *src)
{
	return THIS_HOOK != HOOK_FROM_POD && (skb->mark & MARK_DEFERRED) && !bpf_map_lookup_elem(&fl_endpoints, src);
}

/* judge says what policies make of the work's packet, with the ends that the work's judged has:
 * UNDECIDED when they let it through. */
__noinline int judge(struct __sk_buff *skb)
{
	struct state *s = shared_state();
	struct work *w = work();
	struct judged *j;
	__u32 verdict = 0, opens, by_source, known, borrowed;
	int no;

	if (!w || !s)
		return TC_ACT_SHOT;
	j = &w->judged;
	j->course.verdict = 0;
	find_source(skb, &j->source, &j->ends.src);
	find_subject(&j->dest, &j->ends.dst);
	if (!is_policed(j) || same_address(&j->ends.src, &j->ends.dst))
		return UNDECIDED;
	j->course.packet.direction = flow_of(&j->ends.src, &j->ends.dst, j->ends.sport, j->ends.dport, j->ends.protocol,
					     &j->course.packet.flow);
	j->course.packet.tcp_flags = tcp_flags_of(skb, &w->packet);
	set_course(&j->course, s);
	borrowed = is_borrowed(skb, &j->ends.src);
	j->course.connection = !borrowed && has_answers(&w->packet);
	opens = is_opening(j->course.packet.tcp_flags);
	if (!opens && !borrowed)
		verdict = find_verdict(&j->course);
	if (verdict & CONNECTION_ALLOWED) {
		j->course.verdict = verdict;
		return UNDECIDED;
	}
	known = borrowed || (verdict & CONNECTION_OPENED);
	by_source = borrowed || !known || !(verdict & CONNECTION_OPENED_B) == !j->course.packet.direction;
	/* Who answers may have another address behind kube-proxy. What has not been in the stack
	 * comes from the address itself that was not allowed. */
	if (THIS_HOOK == HOOK_TO_POD && !by_source && (verdict & CONNECTION_DEFERRED))
		j->dest.egress = 0;
	no = by_source ? may_begin() : may_answer();
	if (no && !known && !opens && (j->ends.protocol == IPPROTO_TCP || (w->packet.flags & PACKET_ICMP_ERROR))) {
		__u64 cause = j->cause;

		if (!may_answer())
			by_source = no = 0;
		else
			j->cause = cause;
	}
	if (no == DIRECTION_EGRESS && by_source && j->may_defer) {
		skb->mark |= MARK_DEFERRED;
		keep_verdict(j, 1, CONNECTION_DEFERRED);
		return UNDECIDED;
	}
	if (no)
		return forbid(skb, no);
	keep_verdict(j, by_source, CONNECTION_ALLOWED);
	return UNDECIDED;
}

/* set_ends fills in the ends of the work's packet as it stands; it returns less than 0 for a later
 * fragment of which nothing is known. */
__noinline int set_ends(void)
{
	struct work *w = work();
	struct fragment_key k;
	struct fragment f, *first;

	if (!w)
		return -1;
	w->judged.ends.protocol = w->packet.protocol;
	w->judged.from_host = 0;
	w->judged.ends.pad[0] = w->judged.ends.pad[1] = w->judged.ends.pad[2] = 0;
	if (w->packet.flags & PACKET_FLOW) {
		w->judged.ends.src = w->packet.flow_src;
		w->judged.ends.dst = w->packet.flow_dst;
		w->judged.ends.sport = w->packet.flow_sport;
		w->judged.ends.dport = w->packet.flow_dport;
	} else {
		w->judged.ends.src = w->packet.src;
		w->judged.ends.dst = w->packet.dst;
		w->judged.ends.sport = w->judged.ends.dport = 0;
	}
	if (!(w->packet.flags & PACKET_FRAGMENT) || !has_ports(w->packet.protocol) || (w->packet.flags & PACKET_ICMP_ERROR))
		return 0;
	fragment_of(&k, &w->packet);
	if (w->packet.flags & PACKET_FLOW) {
		f.sport = w->packet.flow_sport;
		f.dport = w->packet.flow_dport;
		bpf_map_update_elem(&fl_fragments, &k, &f, BPF_ANY);
		return 0;
	}
	first = bpf_map_lookup_elem(&fl_fragments, &k);
	if (!first)
		return -1;
	w->judged.ends.sport = first->sport;
	w->judged.ends.dport = first->dport;
	return 0;
}

/* may_be_translated says whether the host's stack may send a pod's packet to another address. */
static __always_inline int may_be_translated(const struct address *dst)
{
	return THIS_HOOK == HOOK_FROM_POD && !cfg_services && !bpf_map_lookup_elem(&fl_endpoints, dst) && !lookup_range(dst);
}

/* police judges the work's packet, which is parsed and has no other addresses than those that it
 * stands with. */
static __always_inline int police(struct __sk_buff *skb, __u8 from_host)
{
	struct work *w = work();

	if (!w)
		return TC_ACT_SHOT;
	/* Pods without policies pay two lookups. */
	find_source(skb, &w->judged.source, &w->packet.src);
	find_subject(&w->judged.dest, &w->packet.dst);
	w->judged.course.verdict = 0;
	if (!is_policed(&w->judged))
		return UNDECIDED;
	if (set_ends() < 0)
		return drop(skb, THIS_HOOK, REASON_DROP_FRAGMENT);
	w->judged.from_host = from_host;
	w->judged.may_defer = may_be_translated(&w->packet.dst);
	return judge(skb);
}

/* police_leaving judges the work's packet, which leaves the stack, if from_pod has left that to
 * this hook. */
static __always_inline int police_leaving(struct __sk_buff *skb)
{
	int action;

	if (!(skb->mark & MARK_DEFERRED))
		return UNDECIDED;
	action = police(skb, 0);
	skb->mark &= ~MARK_DEFERRED;
	return action;
}

/* police_translated judges the work's packet as the backend of its Service sees it. */
static __always_inline int police_translated(struct __sk_buff *skb)
{
	struct work *w = work();

	if (!w)
		return TC_ACT_SHOT;
	/* A pod that asks itself by a Service. */
	if (same_address(&w->key.src, &w->row.dst))
		return UNDECIDED;
	if (w->row.flags & TRANSLATION_REPLY) {
		w->judged.ends = w->key;
	} else {
		w->judged.ends.src = w->row.src;
		w->judged.ends.dst = w->row.dst;
		w->judged.ends.sport = w->row.sport;
		w->judged.ends.dport = w->row.dport;
		w->judged.ends.protocol = w->key.protocol;
		w->judged.ends.pad[0] = w->judged.ends.pad[1] = w->judged.ends.pad[2] = 0;
	}
	w->judged.from_host = w->judged.may_defer = 0;
	return judge(skb);
}
