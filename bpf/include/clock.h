/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#pragma once
#include "helpers.h"

/* tick counts units of 2^30 ns (about 1.07 s) of the monotonic clock. */
static __always_inline __u32 tick(void)
{
	return bpf_ktime_get_coarse_ns() >> 30;
}
