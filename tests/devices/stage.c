/* SPDX-License-Identifier: MIT
 * Scenes in device memory, and runs of them. What is read lies in arrays of just their size, what is
 * written between guards. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"

/* From `lead` bytes on. Codes and norms of records are one array. */
static tq_view stage_view(const scene *s, const side *x) {
    const bool records = s->layout == RECORDS;
    const size_t more = records ? x->code_bytes + x->n_norms : x->n_codes;
    uint8_t *codes = device(x->lead + more), *norms = NULL;
    need(cudaMemcpy(codes + x->lead, x->codes, more, cudaMemcpyHostToDevice), "upload");
    if (!records) {
        norms = device(x->norm_lead + x->n_norms);
        need(cudaMemcpy(norms + x->norm_lead, x->norms, x->n_norms, cudaMemcpyHostToDevice), "upload");
    }
    const bool plain = s->layout == SIDE_BY_SIDE && x->row == x->code_bytes;
    static const int32_t pages[] = {9, 8, 7};
    tq_view view = {.codec = x->codec,
                    .data = codes + x->lead,
                    .data_bytes = x->n_codes,
                    .norms = records ? codes + x->lead + x->code_bytes : norms + x->norm_lead,
                    .n_norms = x->n_norms,
                    .row_stride = x->row,
                    .head_stride = x->head,
                    .page_stride = x->page,
                    .norm_row_stride = x->norm_row,
                    .norm_head_stride = x->norm_head,
                    .norm_page_stride = x->norm_page,
                    .page_rows = s->page_rows,
                    .pool_pages = s->n_pages,
                    .capacity = 12345, /* which nobody looks at, nor at those that follow */
                    .ring_start = 777,
                    .pages = pages,
                    .n_pages = 3};
    if (plain) {
        view.row_stride = view.head_stride = view.page_stride = 0;
        view.norm_row_stride = view.norm_head_stride = view.norm_page_stride = 0;
    }
    if (s->rows_of_capacity) view.page_rows = 0, view.capacity = s->page_rows, view.ring_start = 0;
    return view;
}

static tq_cuda_dense stage_dense(const scene *s, const dense *d) {
    if (d->data == NULL) return (tq_cuda_dense){0};
    return (tq_cuda_dense){.data = upload(d->data, d->n * sizeof *d->data),
                           .n = d->n,
                           .row_stride = s->wide_dense ? d->row : 0,
                           .head_stride = s->wide_dense ? d->head : 0,
                           .sequence_stride = s->wide_dense ? d->sequence : 0};
}

static int32_t *stage_numbers(const size_t *x, size_t n) {
    int32_t numbers[MOST_SEQUENCES];
    for (size_t i = 0; i < n; i++)
        numbers[i] = (int32_t)x[i];
    return upload(numbers, n * sizeof *numbers);
}

static void stage_codes(const scene *s, staged *on) {
    tq_cuda_attention_batch *batch = &on->batch;
    const size_t B = s->n_sequences;
    on->k = stage_view(s, &s->k), on->v = stage_view(s, &s->v);
    batch->k = &on->k, batch->v = &on->v;
    if (s->paged) {
        batch->block_tables = upload(s->table, B * s->table_stride * sizeof *s->table);
        batch->table_stride = s->table_stride;
    }
    batch->code_first = s->code_first;
    batch->lengths = on->lengths = stage_numbers(s->lengths, B);
    if (s->has_coded) batch->coded_lengths = stage_numbers(s->coded, B);
    if (!s->centre) return;
    const size_t n = s->n_centres * s->config.layer.n_kv_heads * s->k.dim, lead = s->centre_lead;
    uint16_t *const centres = host((lead + n) * sizeof *centres);
    memset(centres, 0xff, lead * sizeof *centres);
    memcpy(centres + lead, s->centres, n * sizeof *centres);
    on->k.centre = (const uint16_t *)upload(centres, (lead + n) * sizeof *centres) + lead;
    free(centres);
    on->k.n_centres = s->n_centres, on->k.centre_stretch = s->stretch;
    if (s->stretch == 0) return;
    batch->centre_tables = upload(s->centre_table, B * s->centre_table_stride * sizeof *s->centre_table);
    batch->centre_table_stride = s->centre_table_stride;
}

static void stage_float16(const scene *s, staged *on) {
    tq_cuda_attention_batch *batch = &on->batch;
    batch->n_sinks = s->n_sinks, batch->recent_capacity = s->recent_capacity;
    batch->sink_k = stage_dense(s, &s->k.sinks), batch->sink_v = stage_dense(s, &s->v.sinks);
    batch->recent_k = stage_dense(s, &s->k.recent), batch->recent_v = stage_dense(s, &s->v.recent);
    if (!s->permuted_dense) return;
    batch->dense_rows = upload(s->dense_rows, s->n_sequences * sizeof *s->dense_rows);
    batch->n_dense_rows = s->n_dense_rows;
}

static void stage_outputs(const scene *s, staged *on) {
    tq_cuda_attention_batch *batch = &on->batch;
    const size_t size = type_size(s->config.layer.out_type);
    const size_t rows = scene_tokens(s) * s->config.layer.n_heads;
    on->out_bytes = OUT_GUARD + (s->out_lead + s->n_out) * size + OUT_GUARD;
    on->out = device(on->out_bytes);
    on->stats_bytes = (2 * rows + (size_t)3 * STATS_GUARD) * sizeof(float);
    on->stats = device(on->stats_bytes);
    float *stats = (float *)(void *)on->stats + STATS_GUARD;
    batch->out = on->out + OUT_GUARD + s->out_lead * size;
    batch->n_out = s->n_out;
    batch->out_token_stride = s->out_token, batch->out_head_stride = s->out_head;
    if (s->open) batch->max = stats, batch->sum = stats + rows + STATS_GUARD;
    if (s->lse && !s->open) batch->lse = stats;
    batch->n_lse = s->open || s->lse ? rows : 0;
    batch->base2 = s->base2;
}

void stage(const scene *s, const tq_cuda_attention *plan, staged *on) {
    const size_t H = s->config.layer.n_heads, size = type_size(s->config.layer.q_type);
    *on = (staged){0};
    stage_codes(s, on);
    stage_float16(s, on);
    stage_outputs(s, on);
    tq_cuda_attention_batch *batch = &on->batch;
    batch->size = sizeof *batch;
    batch->n_sequences = s->n_sequences;
    batch->n_queries = s->n_queries == 1 && s->paged ? 0 : s->n_queries; /* 0: 1 */
    batch->q = (uint8_t *)upload(s->q_image, (s->q_lead + s->n_q) * size) + s->q_lead * size;
    batch->n_q = s->n_q;
    batch->q_token_stride = s->q_token, batch->q_head_stride = s->q_head;
    if (s->logits) batch->sinks = upload(s->sink_logits, H * sizeof(float));
    if (s->slopes) batch->slopes = upload(s->slope_values, H * sizeof(float));
    if (s->n_tree > 0) {
        batch->tree = upload(s->tree, scene_tokens(s) * ((s->n_tree + 63) / 64) * sizeof *s->tree);
        batch->n_tree = s->n_tree;
    }
    succeed(tq_cuda_attention_workspace(plan, batch, &on->workspace_bytes));
    on->workspace = device(on->workspace_bytes);
}

void poison_outputs(const staged *on, int poison, void *stream) {
    need(cudaMemsetAsync(on->out, poison, on->out_bytes, stream), "cudaMemset");
    need(cudaMemsetAsync(on->stats, poison, on->stats_bytes, stream), "cudaMemset");
    need(cudaMemsetAsync(on->workspace, 0xFF, on->workspace_bytes, stream), "cudaMemset");
}

void fetch(const staged *on, int poison, answer *a) {
    *a = (answer){.out_bytes = on->out_bytes,
                  .stats_bytes = on->stats_bytes,
                  .out = host(on->out_bytes),
                  .stats = host(on->stats_bytes),
                  .poison = poison};
    download(a->out, on->out, on->out_bytes);
    download(a->stats, on->stats, on->stats_bytes);
    a->first = a->out + OUT_GUARD;
}

void run(const staged *on, const tq_cuda_attention *plan, int poison, void *stream, answer *a) {
    poison_outputs(on, poison, stream);
    succeed(tq_cuda_attention_run(plan, &on->batch, on->workspace, on->workspace_bytes, stream));
    fetch(on, poison, a);
}

void answer_free(answer *a) {
    free(a->out), free(a->stats);
}
