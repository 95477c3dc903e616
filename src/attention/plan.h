/* SPDX-License-Identifier: MIT
 * An attention call, checked and cut into tasks: blocks of query rows of a KV head, and stretches of
 * positions. What a task is does not depend on the number of threads. */
#ifndef TQ_ATTENTION_PLAN_H
#define TQ_ATTENTION_PLAN_H

#include "attention/reader.h"

#define TQ_NO_BIAS SIZE_MAX

/* So many positions are summed up by themselves, then added to the others: the error of a sum grows with
 * this number, not with all positions. */
enum { TQ_ATTEND_FOLD = 512 };

typedef struct tq_attend_segment {
    tq_view_reader k, v;
    size_t length;
    uint64_t first_position;
    size_t start; /* its first position among those of all segments together */
    size_t bias;  /* number of its keys' centre; TQ_NO_BIAS: it has none */
} tq_attend_segment;

/* Where the parts of the workspace start, in bytes. */
typedef struct tq_attend_layout {
    size_t segments;
    size_t plain;   /* [H][n][D] queries times scale, original domain; for dense keys */
    size_t rotated; /* [H][n][D] the same, rotated; for encoded keys */
    size_t bias;    /* [centres][H][n] products with the centres */
    size_t partials;
    size_t total;
} tq_attend_layout;

typedef struct tq_attend_plan {
    const tq_attention_params *params;
    const tq_kernels *kernels;
    size_t dim, group_rows; /* query rows that share a KV head: H/G * n */
    size_t n_segments, positions, n_biases;
    bool dense_k, dense_v, encoded_k, encoded_v;
    tq_rotation k_rotation, v_rotation; /* of the encoded views */
    size_t row_block, row_blocks;       /* rows of a task, tasks of a KV head */
    size_t split, splits;               /* positions of a task, tasks of a block */
    size_t acc_floats;                  /* of a row: accumulators of encoded and of dense values */
    bool folds;                         /* a task's accumulators are summed in two levels */
    size_t partial_floats;              /* of a row of a split: accumulators, top and sums */
    uint64_t first_query;               /* position of query 0 */
    tq_attend_layout at;
} tq_attend_plan;

/* Checks params and segments. With `segments_out` the prepared segments are written there. */
tq_status tq_attend_plan_init(tq_attend_plan *plan, const tq_attention_params *params,
                              const tq_segment *segments, size_t n_segments,
                              tq_attend_segment *segments_out);

/* TQ_E_NOT_FINITE, with the index, unless the extra logits of n_heads are finite. NULL: there are none.
 */
tq_status tq_attend_check_sinks(const tq_kernels *kernels, const float *sinks, size_t n_heads);

/* A partial row is [rotated accumulator, if encoded_v] [plain accumulator, if dense_v], both once more if
 * the plan folds, and a tail: [top] [sum] [sum of what was folded]. */
static inline size_t tq_attend_partial_at(const tq_attend_plan *plan, size_t row, size_t split) {
    return (row * plan->splits + split) * plan->partial_floats;
}

/* Fills the workspace's queries and biases, then its partials, task by task. */
void tq_attend_run(const tq_attend_plan *plan, const float *q, void *workspace);

/* Puts a row's splits together. acc [D] in the call's domain, unnormalised. A row that float32 cannot
 * carry is NaN in all three, here and below. */
void tq_attend_collect(const tq_attend_plan *plan, const void *workspace, size_t row, float *acc,
                       float *top, float *sum);

/* Row r of partial results that callers hold to out, unnormalised; out may be acc[0]. */
void tq_attend_merge_row(const tq_kernels *kernels, size_t n_partials, size_t dim, size_t r,
                         const float *const *acc, const float *const *max, const float *const *sum,
                         float *out, float *top, float *total);

/* acc, top and sum to a result, with an extra logit if there is one. */
void tq_attend_finish(size_t dim, float *acc, float top, float sum, const float *sink, float *lse);

#endif
