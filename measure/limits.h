/* SPDX-License-Identifier: MIT
 * What no code on this machine can beat: streams of stores and copies, reading a cache once, and its
 * multiplications, as fast as we know how to. The widest registers of the machine are used, whatever
 * level the kernels beside run on.
 *
 * parallel: each of `threads` threads has a part of its own; NULL: the calling thread alone. */
#ifndef TQKV_MEASURE_LIMITS_H
#define TQKV_MEASURE_LIMITS_H

#include <stdbool.h>
#include <stddef.h>

#include "tqkv/codec.h"

typedef enum measure_limit {
    MEASURE_LIMIT_STORE,
    MEASURE_LIMIT_STREAM,
    MEASURE_LIMIT_MEMCPY,
    MEASURE_N_LIMITS
} measure_limit;

/* "store", "stream" or "memcpy". */
const char *measure_limit_name(measure_limit limit);

/* What an operation on a set is held against: one that decodes, stores, in RAM by those too that bypass
 * the caches, if the machine has them; another copies. In a set that fits into caches the former would
 * empty them. Returns how many there are. */
enum { MEASURE_MOST_LIMITS = 2 };
size_t measure_limits_of(bool decodes, bool in_ram, measure_limit limits[MEASURE_MOST_LIMITS]);

/* Runs the limit over `rows` vectors of `dim` floats: dst is written, src read by MEASURE_LIMIT_MEMCPY
 * alone. dst is aligned to 64 bytes, dim a multiple of 16. */
void measure_run_limit(measure_limit limit, const tq_parallel *parallel, size_t threads, const float *src,
                       float *dst, size_t rows, size_t dim);

/* Reads `bytes` bytes once, from beginning to end. src is aligned to 64 bytes, bytes a multiple of 64. */
void measure_run_read(const tq_parallel *parallel, size_t threads, const void *src, size_t bytes);

/* Multiplies and adds float32 in registers alone, some 100 microseconds; returns how many
 * operations that were, two for each product that is added. Machines without fused products multiply and
 * add apart. */
double measure_run_fma(const tq_parallel *parallel, size_t threads);

#endif
