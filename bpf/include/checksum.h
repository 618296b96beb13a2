/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Sums of the Internet checksum (RFC 1071): 16-bit words in one's complement, in the byte
 * order in which they stand in the packet. */
#pragma once
#include "helpers.h"

/* The part of the pseudo header of IPv6 that checksums cover (RFC 8200, 8.1). */
struct pseudo6 {
	__be32 saddr[4];
	__be32 daddr[4];
	__be32 length;
	__be32 nexthdr;
};

/* sum16 brings a sum down to 16 bits. */
static __always_inline __u16 sum16(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* fold returns the checksum that makes a sum right. */
static __always_inline __sum16 fold(__u64 sum)
{
	return (__sum16)~sum16(sum);
}
