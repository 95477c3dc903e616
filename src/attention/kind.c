/* SPDX-License-Identifier: MIT
 * Checks of what is to be computed, how it is cut, and the most that a run may want. */
#include "attention/kind.h"

#include <math.h>

#include "attention/batch.h"
#include "base/size.h"
#include "kernels/attend/digits.h"

/* A sequence has so many tasks, more of them if it is long, as far as its positions allow: what a split
 * costs shows beside fewer of them, and its partial rows take memory. */
enum {
    LEAST_TASKS = 16,
    MOST_TASKS = 128,
    POSITIONS_OF_TASK = 256,
    LEAST_SPLIT = 1024,
    MOST_SPLITS = 16
};

static tq_status check_heads(const tq_attention_config *c) {
    if (c->n_kv_heads == 0)
        return tq_fail(TQ_E_HEADS, 0, "n_kv_heads", "n_kv_heads is 0: there must be one at least");
    if (c->n_heads == 0 || c->n_heads % c->n_kv_heads != 0)
        return tq_fail(TQ_E_HEADS, 0, "n_heads", "%u query heads do not share out %u KV heads",
                       c->n_heads, c->n_kv_heads);
    return TQ_OK;
}

static tq_status check_dim(const char *name, uint32_t dim) {
    if (dim >= 32 && dim <= TQ_MAX_DIM && dim % TQ_LANES == 0) return TQ_OK;
    return tq_fail(TQ_E_HEAD_DIM, 0, name, "%s %u: multiples of 16 from 32 to 1024 are served", name,
                   dim);
}

/* Codes that are planned for are of a format that serves the dimension. */
static tq_status check_format(tq_format format, uint32_t dim) {
    const tq_codec codec = {.format = format, .head_dim = dim};
    return (int)format == 0 ? TQ_OK : tq_row_size(&codec, NULL, NULL);
}

static tq_status check_scores(const tq_attention_config *c) {
    if (!isfinite(c->scale))
        return tq_fail(TQ_E_NOT_FINITE, 0, "scale", "scale is %g: it must be finite", (double)c->scale);
    if (!(fabsf(c->scale) > 0.0f))
        return tq_fail(TQ_E_SCALE, 0, "scale",
                       "scale is 0: all scores would be; 1 / sqrt(head_dim) is usual");
    if (!(c->softcap >= 0.0f && isfinite(c->softcap)))
        return tq_fail(TQ_E_NOT_FINITE, 0, "softcap", "softcap is %g: it must be positive, or 0 for none",
                       (double)c->softcap);
    return TQ_OK;
}

static tq_status check_arithmetic(tq_arithmetic a) {
    if (a == TQ_ARITHMETIC_DEFAULT || a == TQ_ARITHMETIC_FLOAT || a == TQ_ARITHMETIC_INTEGER)
        return TQ_OK;
    return tq_fail(TQ_E_FORMAT, 0, "arithmetic", "arithmetic %d is none of default, float and integer",
                   (int)a);
}

tq_status tq_attend_kind_init(tq_attend_kind *kind, const tq_attention_config *c) {
    const uint32_t v_dim = c->v_head_dim == 0 ? c->head_dim : c->v_head_dim;
    TRY(check_heads(c));
    TRY(check_dim("head_dim", c->head_dim));
    TRY(check_dim("v_head_dim", v_dim));
    TRY(check_scores(c));
    TRY(check_arithmetic(c->arithmetic));
    TRY(tq_check_domain(c->domain));
    TRY(tq_check_type("q_type", c->q_type));
    TRY(tq_check_type("out_type", c->out_type));
    TRY(check_format(c->k_format, c->head_dim));
    TRY(check_format(c->v_format, v_dim));
    *kind = (tq_attend_kind){.heads = c->n_heads,
                             .kv_heads = c->n_kv_heads,
                             .group = c->n_heads / c->n_kv_heads,
                             .k_dim = c->head_dim,
                             .v_dim = v_dim,
                             .scale = c->scale,
                             .softcap = c->softcap,
                             .causal = !c->bidirectional,
                             .arithmetic = c->arithmetic,
                             .window = c->window,
                             .sink_positions = c->sink_positions,
                             .domain = c->domain,
                             .q_type = c->q_type,
                             .out_type = c->out_type,
                             .k_format = c->k_format,
                             .v_format = c->v_format,
                             .max_sequences = c->max_sequences,
                             .max_queries = c->max_queries,
                             .max_positions = c->max_positions,
                             .max_segments = c->max_segments};
    return TQ_OK;
}

tq_status tq_attend_kind_of(tq_attend_kind *kind, const tq_attention_params *p) {
    const tq_attention_config config = {.size = sizeof config,
                                        .n_heads = p->n_heads,
                                        .n_kv_heads = p->n_kv_heads,
                                        .head_dim = p->head_dim,
                                        .v_head_dim = p->v_head_dim,
                                        .scale = p->scale,
                                        .softcap = p->softcap,
                                        .bidirectional = p->bidirectional,
                                        .window = p->window,
                                        .sink_positions = p->sink_positions,
                                        .domain = p->domain,
                                        .arithmetic = p->arithmetic};
    TRY(tq_attend_kind_init(kind, &config));
    kind->any_format = true;
    if (p->n_queries == 0)
        return tq_fail(TQ_E_SIZE, 0, "n_queries", "n_queries is 0: a decode step has 1");
    return TQ_OK;
}

static size_t blocks_of(const tq_attend_kind *kind, size_t n_queries) {
    return (kind->group * n_queries - 1) / TQ_ATTEND_ROWS + 1;
}

static size_t tasks_for(size_t positions) {
    const size_t n = positions / POSITIONS_OF_TASK;
    return n < LEAST_TASKS ? LEAST_TASKS : n > MOST_TASKS ? MOST_TASKS : n;
}

/* Splits that make as many tasks out of so many, as far as there are positions for them. */
static size_t most_splits(size_t tasks, size_t positions) {
    const size_t wanted = (tasks_for(positions) - 1) / tasks + 1;
    const size_t there = positions == 0 ? 1 : (positions - 1) / LEAST_SPLIT + 1;
    const size_t most = there < MOST_SPLITS ? there : MOST_SPLITS;
    return wanted < most ? wanted : most;
}

tq_attend_cut tq_attend_cut_of(const tq_attend_kind *kind, size_t n_queries, size_t positions) {
    tq_attend_cut cut = {.rows = kind->group * n_queries, .row_blocks = blocks_of(kind, n_queries)};
    cut.row_block = cut.rows < TQ_ATTEND_ROWS ? cut.rows : TQ_ATTEND_ROWS;
    cut.most_splits = most_splits(kind->kv_heads * cut.row_blocks, positions);
    cut.split = cut.most_splits == 1
                    ? SIZE_MAX
                    : ((positions - 1) / cut.most_splits / TQ_ATTEND_CHUNK + 1) * TQ_ATTEND_CHUNK;
    cut.splits = positions == 0 ? 1 : (positions - 1) / cut.split + 1;
    return cut;
}

/* The most partial rows of a head that n queries of one sequence may have, for n up to `queries`: it is
 * most where a block is just full. */
static bool most_rows(const tq_attend_kind *kind, size_t queries, size_t *most) {
    *most = queries;
    for (size_t blocks = 1; kind->kv_heads * blocks < MOST_TASKS; blocks++) {
        size_t n = blocks * TQ_ATTEND_ROWS / kind->group, rows;
        if (n > queries) n = queries;
        if (!tq_size_mul(n, most_splits(kind->kv_heads * blocks, kind->max_positions), &rows))
            return false;
        if (rows > *most) *most = rows;
    }
    return true;
}

/* The same of all queries of a run, however they are spread over its sequences. */
static bool all_rows(const tq_attend_kind *kind, size_t *rows) {
    size_t each, together;
    if (!most_rows(kind, kind->max_queries, &each) || !tq_size_mul(each, kind->max_sequences, &each) ||
        !tq_size_add(each, kind->max_queries, &each) ||
        !tq_size_mul(kind->max_queries, most_splits(kind->kv_heads, kind->max_positions), &together))
        return false;
    *rows = each < together ? each : together;
    return true;
}

size_t tq_attend_digit_floats(const tq_attend_kind *kind, bool encoded_k) {
    const bool none = kind->arithmetic == TQ_ARITHMETIC_FLOAT || !encoded_k;
    return none ? 0 : tq_query_bytes(kind->k_dim) / sizeof(float);
}

tq_status tq_attend_workspace_most(const tq_attend_kind *kind, size_t *bytes) {
    const bool k_codes = (int)kind->k_format != 0, v_codes = (int)kind->v_format != 0;
    const size_t partial = tq_attend_partial_floats(kind->v_dim * (v_codes ? 2 : 1), true,
                                                    tq_attend_digit_floats(kind, k_codes));
    size_t total = 0, at, segments, values, partials;
    const bool fits =
        tq_size_mul(kind->max_sequences, kind->max_segments, &segments) &&
        tq_size_mul(kind->heads, kind->max_queries, &values) &&
        tq_size_mul(values, kind->k_dim * (k_codes ? 2 : 1), &values) && all_rows(kind, &partials) &&
        tq_size_mul(partials, kind->heads * partial, &partials) &&
        tq_size_place(&total, &at, kind->max_sequences, sizeof(tq_attend_sequence)) &&
        tq_size_place(&total, &at, segments, sizeof(tq_attend_segment)) &&
        tq_size_place(&total, &at, values, sizeof(float)) &&
        tq_size_place(&total, &at, partials, sizeof(float)) &&
        /* every array of a sequence begins on a multiple of 64 bytes */
        tq_size_place(&total, &at, kind->max_sequences, (size_t)3 * 64) && total <= PTRDIFF_MAX;
    if (!fits)
        return tq_fail(TQ_E_OVERFLOW, 0, "max_queries",
                       "%zu queries of %zu heads on %zu positions do not fit in memory",
                       kind->max_queries, kind->heads, kind->max_positions);
    *bytes = total;
    return TQ_OK;
}
