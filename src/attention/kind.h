/* SPDX-License-Identifier: MIT
 * What a kind of layer computes, and how much of it a run may have. No pointer to data, no kernel. */
#ifndef TQ_ATTENTION_KIND_H
#define TQ_ATTENTION_KIND_H

#include <stdbool.h>

#include "base/check.h"
#include "format/tables.h"
#include "tqkv/attention.h"

/* So many positions are summed up by themselves, then added to the others: the error of a sum grows with
 * this number, not with all positions. */
enum { TQ_ATTEND_FOLD = 512 };

/* Rows that a task works on at most. More need not know each other: decoding keys once for all of these
 * costs little beside using them. */
enum { TQ_ATTEND_ROWS = 32 };

/* Scores of so many positions go through the softmax together; splits are whole chunks. */
enum { TQ_ATTEND_CHUNK = 128 };

typedef struct tq_attend_kind {
    size_t heads, kv_heads, group; /* H, G, H/G */
    size_t k_dim, v_dim;
    float scale, softcap;
    bool causal;
    uint64_t window, sink_positions;
    tq_domain domain;
    tq_type q_type, out_type;
    tq_format k_format, v_format; /* of codes; 0: there are none */
    bool any_format;              /* codes may be of any format, of several too */
    tq_arithmetic arithmetic;     /* of products with v2 codes */
    bool leans;                   /* a run has slopes: scores depend on where queries stand */
    size_t max_sequences, max_queries, max_positions, max_segments;
} tq_attend_kind;

/* Whether it matters where the queries stand. */
static inline bool tq_attend_is_placed(const tq_attend_kind *kind) {
    return kind->causal || kind->window > 0 || kind->leans;
}

/* Checks a configuration but for its limits. */
tq_status tq_attend_kind_init(tq_attend_kind *kind, const tq_attention_config *config);

/* What is computed, out of the parameters of a single call. */
tq_status tq_attend_kind_of(tq_attend_kind *kind, const tq_attention_params *params);

/* How the rows of a sequence that share a KV head, and its positions, are shared out among tasks. It
 * depends on nothing else: a sequence gives the same bits in any batch and on any threads. */
typedef struct tq_attend_cut {
    size_t rows;                  /* H/G * n */
    size_t row_block, row_blocks; /* rows of a task, tasks of a KV head and split */
    size_t split, splits;         /* positions of a task, tasks of a block */
    size_t most_splits;           /* of so many positions or fewer */
} tq_attend_cut;

tq_attend_cut tq_attend_cut_of(const tq_attend_kind *kind, size_t n_queries, size_t positions);

/* Floats of a row of a split: accumulators of `values` floats, twice if they fold, top and sums; and the
 * row's query as digits, of so many floats. */
static inline size_t tq_attend_partial_floats(size_t values, bool folds, size_t digits) {
    return values * (folds ? 2 : 1) + TQ_LANES + digits;
}

/* Floats that the digits of a query take; 0: there are none. */
size_t tq_attend_digit_floats(const tq_attend_kind *kind, bool encoded_k);

/* Bytes that any run within the kind's limits wants. TQ_E_OVERFLOW. */
tq_status tq_attend_workspace_most(const tq_attend_kind *kind, size_t *bytes);

#endif
