/* SPDX-License-Identifier: MIT
 * What no code on this machine can beat: streams of stores and copies, as fast as we know how to. */
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

/* Whether this machine has stores that bypass the caches. */
bool measure_can_stream(void);

/* Runs the limit over `rows` vectors of `dim` floats: dst is written, src read by MEASURE_LIMIT_MEMCPY
 * alone. dst is aligned to 64 bytes, dim a multiple of 16. parallel: each of `threads` threads has a part
 * of its own; NULL: the calling thread alone. */
void measure_run_limit(measure_limit limit, const tq_parallel *parallel, size_t threads, const float *src,
                       float *dst, size_t rows, size_t dim);

#endif
