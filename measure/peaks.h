/* SPDX-License-Identifier: MIT
 * What no attention on this machine can beat: reading a cache once, and its multiplications. */
#ifndef TQKV_MEASURE_PEAKS_H
#define TQKV_MEASURE_PEAKS_H

#include <stddef.h>

#include "tqkv/codec.h"

/* Both take the widest registers of the machine, whatever level the kernels beside run on.
 * parallel: each of `threads` threads has a part of its own; NULL: the calling thread alone. */

/* Reads `bytes` bytes once, from beginning to end. src is aligned to 64 bytes, bytes a multiple of 64. */
void measure_run_read(const tq_parallel *parallel, size_t threads, const void *src, size_t bytes);

/* Multiplies and adds float32 in registers alone, some 100 microseconds; returns how many
 * operations that were, two for each product that is added. Machines without fused products multiply and
 * add apart. */
double measure_run_fma(const tq_parallel *parallel, size_t threads);

#endif
