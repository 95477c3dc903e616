/* SPDX-License-Identifier: MIT
 * Single calls of tqkv/attention.h: a plan and a run of one sequence; and the merge of open results. */
#include "tqkv/attention.h"

#include "attention/call.h"
#include "cpu/dispatch.h"

/* A call as a batch of one: rows lie [H][n]. */
static tq_status one_sequence(tq_attend_call *call, const tq_attention_params *params,
                              tq_attention_params *p, tq_sequence *sequence, const tq_segment *segments,
                              size_t n_segments) {
    TRY(tq_take_struct("params", params, p, sizeof *p));
    TRY(tq_attend_kind_of(&call->kind, p));
    call->kind.leans = p->slopes != NULL;
    *sequence = (tq_sequence){.segments = segments,
                              .n_segments = n_segments,
                              .n_queries = p->n_queries,
                              .query_end = p->query_end};
    call->batch = (tq_attention_batch){.n_sequences = 1,
                                       .sequences = sequence,
                                       .slopes = p->slopes,
                                       .parallel = p->parallel,
                                       .q_token_stride = call->kind.k_dim,
                                       .out_token_stride = call->kind.v_dim,
                                       .lse_token_stride = 1,
                                       .lse_head_stride = p->n_queries};
    TRY(tq_check_product("n_queries", p->n_queries, call->kind.k_dim, 1, &call->batch.q_head_stride));
    TRY(tq_check_product("n_queries", p->n_queries, call->kind.v_dim, 1, &call->batch.out_head_stride));
    call->out_name = "out";
    return TQ_OK;
}

tq_status tq_attention_workspace(const tq_attention_params *params, const tq_segment *segments,
                                 size_t n_segments, size_t *bytes) {
    tq_attend_call call;
    tq_attention_params own;
    tq_sequence sequence;
    TRY(tq_check_not_null("bytes", bytes));
    TRY(one_sequence(&call, params, &own, &sequence, segments, n_segments));
    return tq_attend_call_size(&call, bytes);
}

tq_status tq_attention(const tq_attention_params *params, const tq_segment *segments, size_t n_segments,
                       const float *q, size_t n_q, float *out, size_t n_out, float *lse, size_t n_lse,
                       void *workspace, size_t workspace_bytes) {
    tq_attend_call call;
    tq_attention_params own;
    tq_sequence sequence;
    TRY(one_sequence(&call, params, &own, &sequence, segments, n_segments));
    call.batch.q = q;
    call.batch.n_q = n_q;
    call.batch.out = out;
    call.batch.n_out = n_out;
    call.batch.lse = lse;
    call.batch.n_lse = n_lse;
    call.batch.sinks = own.sinks;
    return tq_attend_call_run(&call, workspace, workspace_bytes);
}

tq_status tq_attention_partial(const tq_attention_params *params, const tq_segment *segments,
                               size_t n_segments, const float *q, size_t n_q, float *acc, size_t n_acc,
                               float *max, float *sum, size_t n_sum, void *workspace,
                               size_t workspace_bytes) {
    tq_attend_call call;
    tq_attention_params own;
    tq_sequence sequence;
    TRY(one_sequence(&call, params, &own, &sequence, segments, n_segments));
    TRY(tq_check_not_null("max", max));
    TRY(tq_check_not_null("sum", sum));
    call.batch.q = q;
    call.batch.n_q = n_q;
    call.batch.sinks = own.sinks;
    call.batch.out = acc;
    call.batch.n_out = n_acc;
    call.batch.max = max;
    call.batch.n_lse = n_sum;
    call.batch.sum = sum;
    call.out_name = "acc";
    return tq_attend_call_run(&call, workspace, workspace_bytes);
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
    if (sinks != NULL) TRY(tq_check_finite(kernels, "sinks", sinks, n_heads));
    for (size_t r = 0; r < rows; r++) {
        float top, total;
        tq_attend_merge_row(kernels, n_partials, head_dim, r, acc, max, sum, out, &top, &total);
        tq_attend_finish(kernels, head_dim, out + r * head_dim, top, total,
                         sinks == NULL ? NULL : &sinks[r / n_queries], lse == NULL ? NULL : lse + r);
    }
    return TQ_OK;
}
