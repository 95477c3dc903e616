/* SPDX-License-Identifier: MIT
 * v1's attention as partial results of tq_attention_partial(), one a stretch of positions. */
#include "v1/attend.h"

#include "base/check.h"
#include "base/size.h"
#include "codec/rows.h"
#include "cpu/dispatch.h"
#include "format/plan.h"

static tq_status check_positions(const tq_flash_attn_vec_tq_hb_params *p, bool dense) {
    if (p->kv_capacity == 0)
        return tq_fail(TQ_E_POSITION, 0, "kv_capacity", "kv_capacity is 0: there must be one at least");
    if (p->kv_seq_len > p->kv_capacity)
        return tq_fail(TQ_E_POSITION, 0, "kv_seq_len", "kv_seq_len %u: the cache holds %u positions",
                       p->kv_seq_len, p->kv_capacity);
    if (!dense && p->ring_start >= p->kv_capacity)
        return tq_fail(TQ_E_POSITION, 0, "ring_start", "ring_start %u: the cache holds %u positions",
                       p->ring_start, p->kv_capacity);
    return TQ_OK;
}

static tq_status check_mask(const tq_flash_attn_vec_tq_hb_params *p, size_t n_queries) {
    if (p->mask_type > TQ_MASK_SLIDING)
        return tq_fail(TQ_E_MASK, 0, "mask_type", "mask_type %u: there are 0 none, 1 causal, 2 sliding",
                       p->mask_type);
    if (p->mask_type == TQ_MASK_SLIDING && p->sliding_window == 0)
        return tq_fail(TQ_E_POSITION, 0, "sliding_window",
                       "sliding_window is 0: a sliding mask shows one position at least");
    if (p->mask_type != TQ_MASK_NONE && n_queries > p->kv_seq_len)
        return tq_fail(TQ_E_POSITION, 0, "n_queries",
                       "%zu queries: the last %u positions are all that a masked query may stand at",
                       n_queries, p->kv_seq_len);
    if (p->nwg == 0) return tq_fail(TQ_E_SIZE, 0, "nwg", "nwg is 0: there must be one stretch at least");
    return TQ_OK;
}

static tq_attention_params params_of(const tq_flash_attn_vec_tq_hb_params *p, size_t n_queries) {
    const bool masked = p->mask_type != TQ_MASK_NONE;
    return (tq_attention_params){.size = sizeof(tq_attention_params),
                                 .n_heads = p->n_heads,
                                 .n_kv_heads = p->n_kv_heads,
                                 .head_dim = p->head_dim,
                                 .n_queries = n_queries,
                                 .query_end = masked ? p->kv_seq_len : 0,
                                 .scale = p->scale,
                                 .softcap = p->softcap,
                                 .bidirectional = !masked,
                                 .window = p->mask_type == TQ_MASK_SLIDING ? p->sliding_window : 0,
                                 .domain = TQ_ROTATED};
}

/* What a stretch asks of tq_attention_partial(), whatever its vectors are stored as: callers do not tell
 * when they ask for the size. */
static tq_status most_inner_bytes(tq_v1_attend *a) {
    static const tq_format formats[] = {TQ_TQ4_V1, TQ_TQ4_V1, TQ_TQ5_V1, TQ_TQ6_V1, TQ_TQ8_V1};
    static const float somewhere = 0; /* sizes are asked for; nothing is read */
    tq_attention_params params = a->params;
    /* Sizes do not depend on masks, and what is wrong is said when there is nothing to do, too. */
    params.bidirectional = 1;
    params.window = 0;
    if (params.n_queries == 0) params.n_queries = 1;
    a->inner_bytes = 0;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        size_t bytes;
        const tq_view view = {.store = i == 0 ? TQ_STORE_F32 : TQ_STORE_CODES,
                              .domain = TQ_ROTATED,
                              .codec = {formats[i], a->params.head_dim, TQ_NORM_PLAIN, 1.0f},
                              .data = &somewhere,
                              .data_bytes = SIZE_MAX,
                              .norms = &somewhere,
                              .n_norms = SIZE_MAX,
                              .capacity = a->capacity};
        const tq_segment segment = {.k = view, .v = view, .length = a->stretch};
        TRY(tq_attention_workspace(&params, &segment, 1, &bytes));
        if (bytes > a->inner_bytes) a->inner_bytes = bytes;
    }
    return TQ_OK;
}

static tq_status lay_out(tq_v1_attend *a) {
    const size_t n = a->most_stretches;
    size_t rows, values;
    TRY(tq_check_product("n_queries", a->params.n_heads, a->params.n_queries, sizeof(float), NULL));
    a->rows = a->params.n_heads * a->params.n_queries;
    TRY(tq_check_product("n_queries", a->rows, a->params.head_dim, sizeof(float), NULL));
    a->values = a->rows * a->params.head_dim;
    if (!tq_size_mul(n, a->rows, &rows) || !tq_size_mul(n, a->values, &values) ||
        !tq_size_place(&a->at.total, &a->at.lists, n, 3 * sizeof(float *)) ||
        !tq_size_place(&a->at.total, &a->at.acc, values, sizeof(float)) ||
        !tq_size_place(&a->at.total, &a->at.max, rows, sizeof(float)) ||
        !tq_size_place(&a->at.total, &a->at.sum, rows, sizeof(float)) ||
        !tq_size_place(&a->at.total, &a->at.inner, a->inner_bytes, 1) || a->at.total > PTRDIFF_MAX)
        return tq_fail(TQ_E_OVERFLOW, 0, "nwg",
                       "partial results of %zu stretches for %zu queries do not fit in memory", n,
                       a->rows);
    return TQ_OK;
}

tq_status tq_v1_attend_init(tq_v1_attend *a, const tq_flash_attn_vec_tq_hb_params *p, size_t n_queries) {
    const bool dense = p->codebook_bits == 0;
    const unsigned bits = dense ? 4 : p->codebook_bits;
    const tq_codec codec = {.format = (tq_format)(TQ_TQ4_V1 - 4 + bits),
                            .head_dim = p->head_dim,
                            .scale_factor_d512 = p->scale_factor_d512};
    tq_plan plan;
    TRY(tq_plan_init(&plan, &codec)); /* dense vectors have a v1 head dimension, too */
    if (!dense) TRY(tq_plan_check_scale_factor(&plan, p->scale_factor_d512));
    TRY(check_positions(p, dense));
    TRY(check_mask(p, n_queries));
    *a = (tq_v1_attend){.params = params_of(p, n_queries),
                        .codec = codec,
                        .dense = dense,
                        .row_bytes = dense ? plan.dim * sizeof(float) : plan.row_bytes,
                        .norm_bytes = dense ? 0 : plan.norm_bytes,
                        .positions = p->kv_seq_len,
                        .capacity = p->kv_capacity,
                        .ring_start = dense ? 0 : p->ring_start};
    /* As much for codes as for dense vectors, for the size of the workspace is one for all. */
    TRY(tq_check_product("kv_capacity", p->n_kv_heads, a->capacity, p->head_dim * sizeof(float), NULL));
    a->cache_rows = p->n_kv_heads * a->capacity;
    /* An empty cache is one empty stretch. More than one a position are never at work; room is made for
     * as many as the positions allow, so that fewer positions never want more of it. */
    const size_t positions = a->positions == 0 ? 1 : a->positions;
    a->stretch = a->positions == 0 ? 0 : (positions - 1) / p->nwg + 1;
    a->most_stretches = p->nwg < positions ? p->nwg : positions;
    TRY(most_inner_bytes(a));
    return lay_out(a);
}

/* Positions [first, first + length) of a ring, as a view of their own. */
static tq_view view_from(const tq_v1_attend *a, const tq_view *whole, size_t first) {
    tq_view view = *whole;
    view.ring_start = (a->ring_start + first) % a->capacity;
    return view;
}

tq_status tq_v1_attend_run(const tq_v1_attend *a, const tq_view *k, const tq_view *v, const float *q,
                           float *dst, void *workspace) {
    uint8_t *base = workspace;
    const float **acc = (const float **)(void *)(base + a->at.lists);
    const float **max = acc + a->most_stretches, **sum = max + a->most_stretches;
    const tq_kernels *kernels;
    size_t n = 0, first = 0;
    TRY(tq_active_kernels(&kernels));
    TRY(tq_check_finite(kernels, "q", q, a->values));
    do {
        float *part_acc = (float *)(void *)(base + a->at.acc) + n * a->values;
        float *part_max = (float *)(void *)(base + a->at.max) + n * a->rows;
        float *part_sum = (float *)(void *)(base + a->at.sum) + n * a->rows;
        const size_t left = a->positions - first;
        const tq_segment segment = {.k = view_from(a, k, first),
                                    .v = view_from(a, v, first),
                                    .length = left < a->stretch ? left : a->stretch,
                                    .first_position = first};
        TRY(tq_attention_partial(&a->params, &segment, 1, q, a->values, part_acc, a->values, part_max,
                                 part_sum, a->rows, base + a->at.inner, a->inner_bytes));
        acc[n] = part_acc;
        max[n] = part_max;
        sum[n++] = part_sum;
        first += segment.length;
    } while (first < a->positions);
    return tq_attention_merge(n, a->params.n_heads, a->params.n_queries, a->params.head_dim, acc, max,
                              sum, NULL, dst, NULL);
}
