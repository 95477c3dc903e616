/* SPDX-License-Identifier: MIT
 * A decode or verification step, or a chunk of prefill, on random codes: checked on the CPU, then timed.
 */
#ifndef TQKV_BENCH_GPU_ATTEND_H
#define TQKV_BENCH_GPU_ATTEND_H

#include "stage.h"
#include "tqkv/cuda_attention.h"

/* What is switched on. */
enum {
    PLAIN = 0,
    TAILS = 1,        /* lengths that are no multiples of 16, of each sequence another */
    WINDOW_EDGE = 2,  /* a window that leaves out the first eight positions alone */
    WINDOW_SHORT = 4, /* one of 4,096 */
    SOFTCAP = 8,
    LOGITS = 16,  /* an extra logit for each head */
    CENTRE = 32,  /* one of all keys */
    CENTRES = 64, /* one for each TQ_DEFAULT_CENTRE_STRETCH positions */
    RECENT = 128, /* the last TQ_DEFAULT_RECENT in float16 */
    SINKS = 256,  /* the first TQ_DEFAULT_SINKS */
    HELPERS = CENTRES | RECENT | SINKS
};

enum { SHORT_WINDOW = 4096, PAGE_ROWS = 64 };

/* Where codes lie: an array for each sequence, pages in random order, or one row of each. */
enum { CONTIGUOUS = 1, PAGES = 2, BOTH = 3 };

typedef struct attend_row {
    uint32_t heads, kv_heads, dim;
    size_t batch, positions, queries;
    tq_format k, v;
    tq_cuda_accuracy accuracy;
    int layouts;
    unsigned options;
} attend_row;

/* Prints a line of JSON for each layout. Skips it, and says so, unless there is time. */
void attend_measure(stage *s, const attend_row *row, int there_is_time);

/* "plain", "softcap", ...: what is switched on. */
const char *attend_options(unsigned options);

#endif
