/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the kernel tells programs at sockets of a cgroup, and what they can ask of it. */
#pragma once
#include "helpers.h"

struct bpf_sock;

struct bpf_sock_addr {
	__u32 user_family;
	__be32 user_ip4;
	__be32 user_ip6[4];
	__u32 user_port; /* 16 bits in network byte order */
	__u32 family;
	__u32 type;
	__u32 protocol;
	__be32 msg_src_ip4;
	__be32 msg_src_ip6[4];
	struct bpf_sock *sk __attribute__((aligned(8)));
};

/* What a program at a socket returns. */
enum {
	SOCK_ADDR_REJECT = 0, /* with the error of bpf_set_retval */
	SOCK_ADDR_PROCEED = 1,
};

enum {
	BPF_SK_STORAGE_GET_F_CREATE = 1ULL << 0,
};

enum {
	EAGAIN = 11,
	ECONNREFUSED = 111,
};

static __u32 (*const bpf_get_prandom_u32)(void) = (void *)7;
static __u64 (*const bpf_get_socket_cookie)(void *ctx) = (void *)46;
static void *(*const bpf_sk_storage_get)(void *map, void *sk, void *value, __u64 flags) = (void *)107;
static long (*const bpf_sk_storage_delete)(void *map, void *sk) = (void *)108;
static __u64 (*const bpf_get_netns_cookie)(void *ctx) = (void *)122;
static long (*const bpf_set_retval)(int retval) = (void *)187;
