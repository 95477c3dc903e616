/* SPDX-License-Identifier: MIT
 * The calls of tqkv/attention.h: check, then hand the work to the plan. */
#include "tqkv/attention.h"

#include "attention/plan.h"
#include "cpu/dispatch.h"

tq_status tq_attention_workspace(const tq_attention_params *params, const tq_segment *segments,
                                 size_t n_segments, size_t *bytes) {
    tq_attend_plan plan;
    TRY(tq_check_not_null("bytes", bytes));
    TRY(tq_attend_plan_init(&plan, params, segments, n_segments, NULL));
    *bytes = plan.at.total;
    return TQ_OK;
}

/* Everything but what is written. */
static tq_status check(tq_attend_plan *plan, const tq_attention_params *params,
                       const tq_segment *segments, size_t n_segments, const float *q, void *workspace,
                       size_t workspace_bytes) {
    TRY(tq_attend_plan_init(plan, params, segments, n_segments, NULL));
    TRY(tq_check_not_null("q", q));
    TRY(tq_check_not_null("workspace", workspace));
    if ((uintptr_t)workspace % 64 != 0)
        return tq_fail(TQ_E_SIZE, plan->at.total, "workspace", "workspace is not aligned to 64 bytes");
    if (workspace_bytes < plan->at.total)
        return tq_fail(TQ_E_SIZE, plan->at.total, "workspace",
                       "workspace: %zu bytes are needed, %zu are there", plan->at.total, workspace_bytes);
    return tq_check_finite(plan->kernels, "q", q,
                           (size_t)params->n_heads * params->n_queries * plan->dim);
}

/* Puts the prepared segments into the workspace, once nothing can be wrong any more. */
static void prepare(tq_attend_plan *plan, const tq_segment *segments, void *workspace) {
    uint8_t *base = workspace;
    (void)tq_attend_plan_init(plan, plan->params, segments, plan->n_segments,
                              (tq_attend_segment *)(void *)(base + plan->at.segments));
}

/* What a call writes: outputs and the workspace. */
typedef struct written {
    const char *name;
    const void *data;
    size_t bytes;
} written;

/* Bytes of n things of `size`. More than there can be overlap with everything. */
static size_t bytes_of(size_t n, size_t size) {
    return n > PTRDIFF_MAX / size ? PTRDIFF_MAX : n * size;
}

/* Everything written lies apart from the rest of it, from the queries and from what segments point to. */
static tq_status check_apart(const tq_attend_plan *plan, const float *q, const tq_segment *segments,
                             const written *w, size_t n) {
    const tq_attention_params *p = plan->params;
    const size_t rows = (size_t)p->n_heads * p->n_queries;
    const size_t sinks = p->sinks == NULL ? 0 : p->n_heads * sizeof(float);
    for (size_t i = 0; i < n; i++) {
        TRY(tq_check_not_null(w[i].name, w[i].data));
        TRY(tq_check_apart(w[i].name, w[i].data, w[i].bytes, "q", q, rows * plan->dim * sizeof *q));
        TRY(tq_check_apart(w[i].name, w[i].data, w[i].bytes, "sinks", p->sinks, sinks));
        for (size_t j = 0; j < i; j++)
            TRY(tq_check_apart(w[i].name, w[i].data, w[i].bytes, w[j].name, w[j].data, w[j].bytes));
        for (size_t j = 0; j < plan->n_segments; j++) {
            const tq_view *const views[] = {&segments[j].k, &segments[j].v};
            for (size_t side = 0; side < 2 && segments[j].length > 0; side++) {
                const char *name = side == 0 ? "k" : "v";
                const tq_view *v = views[side];
                TRY(tq_check_apart(w[i].name, w[i].data, w[i].bytes, name, v->data, v->data_bytes));
                if (v->pages != NULL)
                    TRY(tq_check_apart(w[i].name, w[i].data, w[i].bytes, name, v->pages,
                                       bytes_of(v->n_pages, sizeof *v->pages)));
                if (v->store == TQ_STORE_CODES)
                    TRY(tq_check_apart(w[i].name, w[i].data, w[i].bytes, name, v->norms,
                                       bytes_of(v->n_norms, sizeof(float))));
                if (v->centre != NULL)
                    TRY(tq_check_apart(w[i].name, w[i].data, w[i].bytes, name, v->centre,
                                       p->n_kv_heads * plan->dim * sizeof(float)));
            }
        }
    }
    return TQ_OK;
}

tq_status tq_attention(const tq_attention_params *params, const tq_segment *segments, size_t n_segments,
                       const float *q, float *out, float *lse, void *workspace, size_t workspace_bytes) {
    tq_attend_plan plan;
    TRY(check(&plan, params, segments, n_segments, q, workspace, workspace_bytes));
    TRY(tq_attend_check_sinks(plan.kernels, params->sinks, params->n_heads));
    const size_t rows = (size_t)params->n_heads * params->n_queries;
    const written all[] = {{"workspace", workspace, plan.at.total},
                           {"out", out, rows * plan.dim * sizeof *out},
                           {"lse", lse, rows * sizeof *lse}};
    TRY(check_apart(&plan, q, segments, all, lse == NULL ? 2 : 3));
    prepare(&plan, segments, workspace);
    tq_attend_run(&plan, q, workspace);
    for (size_t r = 0; r < rows; r++) {
        const float *sink = params->sinks == NULL ? NULL : &params->sinks[r / params->n_queries];
        float top, sum;
        tq_attend_collect(&plan, workspace, r, out + r * plan.dim, &top, &sum);
        tq_attend_finish(plan.dim, out + r * plan.dim, top, sum, sink, lse == NULL ? NULL : lse + r);
    }
    return TQ_OK;
}

tq_status tq_attention_partial(const tq_attention_params *params, const tq_segment *segments,
                               size_t n_segments, const float *q, float *acc, float *max, float *sum,
                               void *workspace, size_t workspace_bytes) {
    tq_attend_plan plan;
    TRY(check(&plan, params, segments, n_segments, q, workspace, workspace_bytes));
    if (params->query_end == 0 && (!params->bidirectional || params->window > 0))
        return tq_fail(TQ_E_POSITION, 0, "query_end",
                       "query_end is 0: a part of the positions does not tell where the queries stand");
    const size_t rows = (size_t)params->n_heads * params->n_queries;
    const written all[] = {{"workspace", workspace, plan.at.total},
                           {"acc", acc, rows * plan.dim * sizeof *acc},
                           {"max", max, rows * sizeof *max},
                           {"sum", sum, rows * sizeof *sum}};
    TRY(check_apart(&plan, q, segments, all, 4));
    prepare(&plan, segments, workspace);
    tq_attend_run(&plan, q, workspace);
    for (size_t r = 0; r < rows; r++)
        tq_attend_collect(&plan, workspace, r, acc + r * plan.dim, &max[r], &sum[r]);
    return TQ_OK;
}

/* Outputs lie apart from each other and from all partial results, but out may be acc[0]. */
static tq_status check_merge_apart(size_t n_partials, size_t rows, size_t acc_bytes,
                                   const float *const *acc, const float *const *max,
                                   const float *const *sum, const float *sinks, size_t n_heads,
                                   const float *out, const float *lse) {
    const size_t sink_bytes = sinks == NULL ? 0 : n_heads * sizeof *sinks;
    const size_t bytes = rows * sizeof(float), lse_bytes = lse == NULL ? 0 : bytes;
    TRY(tq_check_apart("lse", lse, lse_bytes, "out", out, acc_bytes));
    TRY(tq_check_apart("lse", lse, lse_bytes, "sinks", sinks, sink_bytes));
    TRY(tq_check_apart("out", out, acc_bytes, "sinks", sinks, sink_bytes));
    for (size_t i = 0; i < n_partials; i++) {
        if (i > 0 || out != acc[0]) TRY(tq_check_apart("out", out, acc_bytes, "acc", acc[i], acc_bytes));
        TRY(tq_check_apart("out", out, acc_bytes, "max", max[i], bytes));
        TRY(tq_check_apart("out", out, acc_bytes, "sum", sum[i], bytes));
        TRY(tq_check_apart("lse", lse, lse_bytes, "acc", acc[i], acc_bytes));
        TRY(tq_check_apart("lse", lse, lse_bytes, "max", max[i], bytes));
        TRY(tq_check_apart("lse", lse, lse_bytes, "sum", sum[i], bytes));
    }
    return TQ_OK;
}

tq_status tq_attention_merge(size_t n_partials, size_t n_heads, size_t n_queries, size_t head_dim,
                             const float *const *acc, const float *const *max, const float *const *sum,
                             const float *sinks, float *out, float *lse) {
    const tq_kernels *kernels;
    size_t rows, bytes;
    TRY(tq_active_kernels(&kernels));
    if (n_partials == 0) return tq_fail(TQ_E_SIZE, 0, "n_partials", "there are no partial results");
    TRY(tq_check_product("acc", n_heads, n_queries, 1, &rows));
    TRY(tq_check_product("acc", rows, head_dim, sizeof(float), &bytes));
    if (head_dim == 0) return tq_fail(TQ_E_HEAD_DIM, 0, "head_dim", "head_dim is 0");
    if (rows == 0) return TQ_OK;
    TRY(tq_check_not_null("acc", acc));
    TRY(tq_check_not_null("max", max));
    TRY(tq_check_not_null("sum", sum));
    TRY(tq_check_not_null("out", out));
    for (size_t i = 0; i < n_partials; i++) {
        TRY(tq_check_not_null("acc", acc[i]));
        TRY(tq_check_not_null("max", max[i]));
        TRY(tq_check_not_null("sum", sum[i]));
    }
    TRY(check_merge_apart(n_partials, rows, bytes, acc, max, sum, sinks, n_heads, out, lse));
    TRY(tq_attend_check_sinks(kernels, sinks, n_heads));
    for (size_t r = 0; r < rows; r++) {
        float top, total;
        tq_attend_merge_row(kernels, n_partials, head_dim, r, acc, max, sum, out, &top, &total);
        tq_attend_finish(head_dim, out + r * head_dim, top, total,
                         sinks == NULL ? NULL : &sinks[r / n_queries], lse == NULL ? NULL : lse + r);
    }
    return TQ_OK;
}
