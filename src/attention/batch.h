/* SPDX-License-Identifier: MIT
 * The sequences of a run, checked and laid out in the workspace. */
#ifndef TQ_ATTENTION_BATCH_H
#define TQ_ATTENTION_BATCH_H

#include "attention/kind.h"
#include "attention/reader.h"

typedef struct tq_attend_segment {
    tq_view_reader k, v;
    size_t length;
    uint64_t first_position;
    size_t start; /* its first position among those of all segments together */
} tq_attend_segment;

/* Rows are [H][n]: those that share a KV head are neighbours. */
typedef struct tq_attend_sequence {
    const tq_attend_segment *segments;
    size_t n_segments, positions;
    size_t n_queries;
    size_t first_token;   /* its first query among those of the run */
    uint64_t first_query; /* position of query 0 */
    const uint64_t *tree; /* [n_queries][tree_words] bits of the positions from tree_start on */
    size_t tree_words;    /* 0: there is none */
    uint64_t tree_start;
    bool dense_k, dense_v, encoded_k, encoded_v;
    tq_rotation k_rotation, v_rotation; /* of the encoded views */
    tq_attend_cut cut;
    bool folds;            /* a task's accumulators are summed in two levels */
    size_t acc_floats;     /* of a row: accumulators of encoded and of dense values */
    size_t partial_floats; /* of a row of a split: accumulators, top and sums, digits */
    size_t tail_at;        /* where top and sums begin: behind the accumulators */
    /* where its arrays start in the workspace, in floats */
    size_t plain;   /* [H][n][D] queries times scale, in the call's domain; for dense keys */
    size_t rotated; /* [H][n][D] the same, rotated; for encoded keys */
    size_t partials;
    size_t first_task, first_block; /* tasks, and blocks that are split, of the sequences before */
} tq_attend_sequence;

/* Queries and results. Strides in elements, from a token to the next and from a head to the next. */
typedef struct tq_attend_io {
    const void *q;
    size_t q_token, q_head;
    void *out; /* accumulators, with `sum` */
    size_t out_token, out_head;
    float *lse, *max, *sum; /* NULL: not wanted */
    size_t lse_token, lse_head;
    const float *sinks, *slopes;
} tq_attend_io;

typedef struct tq_attend_batch {
    const tq_attend_kind *kind;
    const tq_kernels *kernels;
    tq_attend_io io;
    tq_attend_sequence *sequences; /* without those that have no queries */
    size_t n_sequences;
    size_t tasks, blocks; /* blocks of rows that are split */
    size_t work;          /* products, as far as it can be counted */
    float *workspace;
} tq_attend_batch;

/* Checks a sequence. Its segments are prepared in `segments`, NULL: nowhere. */
tq_status tq_attend_sequence_init(tq_attend_sequence *s, const tq_attend_kind *kind,
                                  const tq_sequence *from, tq_attend_segment *segments);

/* Cuts it, and gives its arrays their places behind what fills *total. TQ_E_OVERFLOW. */
tq_status tq_attend_sequence_place(tq_attend_sequence *s, const tq_attend_kind *kind, size_t *total);

/* Bytes of the tables that come first. */
bool tq_attend_tables_place(size_t sequences, size_t segments, size_t *total, size_t *segments_at);

/* A partial row is [rotated accumulator, if encoded_v] [plain accumulator, if dense_v], both once more if
 * the sequence folds, and a tail: [top] [sum] [sum of what was folded], TQ_LANES floats; then the query's
 * digits, if arithmetic is integer and there are encoded keys. */
static inline float *tq_attend_partial(const tq_attend_batch *batch, const tq_attend_sequence *s,
                                       size_t row, size_t split) {
    return batch->workspace + s->partials + (row * s->cut.splits + split) * s->partial_floats;
}

/* The batch's tasks, on a caller's threads. */
void tq_attend_run(const tq_attend_batch *batch, const tq_parallel *parallel);

/* Puts a row's splits together and writes what is wanted of it. */
void tq_attend_finish_row(const tq_attend_batch *batch, const tq_attend_sequence *s, size_t row);

/* Row r of partial results that callers hold to out, unnormalised; out may be acc[0]. A row that float32
 * cannot carry is NaN in all three, here and below. */
void tq_attend_merge_row(const tq_kernels *kernels, size_t n_partials, size_t dim, size_t r,
                         const float *const *acc, const float *const *max, const float *const *sum,
                         float *out, float *top, float *total);

/* acc, top and sum to a result, with an extra logit if there is one. */
void tq_attend_finish(const tq_kernels *kernels, size_t dim, float *acc, float top, float sum,
                      const float *sink, float *lse);

#endif
