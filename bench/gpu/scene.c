/* SPDX-License-Identifier: MIT */
#include "scene.h"

#include <math.h>
#include <stdlib.h>

#include "tqkv/tqkv.h"

size_t scene_row_bytes(tq_format format, uint32_t dim) {
    size_t bytes = 0;
    const tq_codec codec = {.format = format, .head_dim = dim};
    return tq_row_size(&codec, &bytes, NULL) == TQ_OK ? bytes : 0;
}

tq_cuda_attention_config scene_config(const attend_row *row) {
    tq_cuda_attention_config config = {.size = sizeof config,
                                       .accuracy = row->accuracy,
                                       .dense = (row->options & (RECENT | SINKS)) != 0,
                                       .layer = {.size = sizeof config.layer,
                                                 .n_heads = row->heads,
                                                 .n_kv_heads = row->kv_heads,
                                                 .head_dim = row->dim,
                                                 .k_format = row->k,
                                                 .v_format = row->v,
                                                 .q_type = TQ_BF16,
                                                 .out_type = TQ_BF16,
                                                 .scale = 1.0f / sqrtf((float)row->dim),
                                                 .max_sequences = row->batch,
                                                 .max_queries = row->batch * row->queries,
                                                 .max_positions = row->positions}};
    if (row->options & CENTRES) config.centre_stretch = TQ_DEFAULT_CENTRE_STRETCH;
    if (row->options & SOFTCAP) config.layer.softcap = 30.0f;
    if (row->options & WINDOW_EDGE) config.layer.window = row->positions - 8;
    if (row->options & WINDOW_SHORT) config.layer.window = SHORT_WINDOW;
    return config;
}

/* 0 to n - 1 in random order. */
static int32_t *permutation(size_t n) {
    int32_t *p = malloc(n * sizeof *p);
    if (p == NULL) return NULL;
    for (size_t i = 0; i < n; i++) {
        const size_t j = stage_random() % (i + 1);
        p[i] = p[j];
        p[j] = (int32_t)i;
    }
    return p;
}

static int host_arrays(scene *c) {
    const attend_row *row = c->row;
    c->n_q = row->batch * row->queries * row->heads * row->dim;
    c->lengths = malloc(2 * row->batch * sizeof *c->lengths);
    c->sinks = malloc(row->heads * sizeof *c->sinks);
    c->q = malloc(c->n_q * sizeof *c->q);
    c->table = permutation(row->batch * c->pages);
    c->centre_table = permutation(row->batch * c->stretches);
    if (c->lengths == NULL || c->sinks == NULL || c->q == NULL || c->table == NULL ||
        c->centre_table == NULL)
        return 0;
    c->coded = c->lengths + row->batch;
    for (size_t i = 0; i < row->batch; i++) {
        const size_t less = row->options & TAILS ? 1 + stage_random() % 15 : 0;
        c->lengths[i] = (int32_t)(row->positions - less);
        c->coded[i] = c->lengths[i] - (row->options & RECENT ? TQ_DEFAULT_RECENT : 0);
    }
    for (size_t i = 0; i < row->heads; i++)
        c->sinks[i] = logf((float)row->positions) + stage_normal(); /* half of the weight */
    for (size_t i = 0; i < c->n_q; i++)
        c->q[i] = to_bf16(stage_normal());
    return 1;
}

/* What all sets have in common. */
static int shared_arrays(scene *c, stage *s, tq_cuda_attention_batch *batch) {
    const attend_row *row = c->row;
    arena *a = &s->scratch;
    const size_t each = row->batch * sizeof(int32_t);
    *batch = (tq_cuda_attention_batch){.size = sizeof *batch,
                                       .n_sequences = row->batch,
                                       .n_queries = row->queries,
                                       .code_first = c->first,
                                       .lengths = take_copy(a, c->lengths, each),
                                       .q = take_copy(a, c->q, c->n_q * sizeof *c->q),
                                       .n_q = c->n_q,
                                       .out = take(a, c->n_q * sizeof(uint16_t)),
                                       .n_out = c->n_q};
    int there = batch->lengths != NULL && batch->q != NULL && batch->out != NULL;
    if (c->paged) {
        batch->table_stride = c->pages;
        batch->block_tables = take_copy(a, c->table, c->pages * each);
        there = there && batch->block_tables != NULL;
    }
    if (row->options & CENTRES) {
        batch->centre_table_stride = c->stretches;
        batch->centre_tables = take_copy(a, c->centre_table, c->stretches * each);
        there = there && batch->centre_tables != NULL;
    }
    if (row->options & LOGITS) {
        batch->sinks = take_copy(a, c->sinks, row->heads * sizeof *c->sinks);
        there = there && batch->sinks != NULL;
    }
    if (row->options & RECENT) {
        batch->recent_capacity = TQ_DEFAULT_RECENT;
        batch->coded_lengths = take_copy(a, c->coded, each);
        there = there && batch->coded_lengths != NULL;
    }
    if (row->options & SINKS) batch->n_sinks = TQ_DEFAULT_SINKS;
    return there;
}

/* Codes and norms of one side in a pool of pages; without a table a page is a sequence's array. */
static int side_view(const scene *c, stage *s, tq_format format, tq_view *view) {
    const attend_row *row = c->row;
    const tq_codec codec = {.format = format, .head_dim = row->dim};
    const size_t slots = row->batch * c->pages * c->page_rows, rows = slots * row->kv_heads;
    const size_t code_bytes = rows * scene_row_bytes(format, row->dim), norm_bytes = rows * 2;
    void *codes = take(&s->codes, code_bytes), *norms = take(&s->norms, norm_bytes);
    return codes != NULL && norms != NULL &&
           tq_view_codes(view, &codec, row->kv_heads, slots, codes, code_bytes, norms, norm_bytes) ==
               TQ_OK &&
           tq_view_paged(view, NULL, 0, c->page_rows) == TQ_OK;
}

static int centres(const scene *c, stage *s, tq_view *view) {
    const attend_row *row = c->row;
    if (!(row->options & (CENTRE | CENTRES))) return 1;
    view->n_centres = row->options & CENTRE ? 1 : row->batch * c->stretches;
    view->centre_stretch = row->options & CENTRE ? 0 : TQ_DEFAULT_CENTRE_STRETCH;
    view->centre = take(&s->values, view->n_centres * row->kv_heads * row->dim * sizeof *view->centre);
    return view->centre != NULL;
}

static int dense(const scene *c, stage *s, size_t capacity, tq_cuda_dense *to) {
    to->n = c->row->batch * c->row->kv_heads * capacity * c->row->dim;
    to->data = take(&s->values, to->n * sizeof *to->data);
    return to->data != NULL;
}

static int one_set(scene *c, stage *s, size_t i, const tq_cuda_attention_batch *shared) {
    const unsigned options = c->row->options;
    tq_cuda_attention_batch *b = &c->batch[i];
    *b = *shared;
    b->k = &c->k[i];
    b->v = &c->v[i];
    int there = side_view(c, s, c->row->k, &c->k[i]) && side_view(c, s, c->row->v, &c->v[i]) &&
                centres(c, s, &c->k[i]);
    if (options & SINKS)
        there = there && dense(c, s, TQ_DEFAULT_SINKS, &b->sink_k) &&
                dense(c, s, TQ_DEFAULT_SINKS, &b->sink_v);
    if (options & RECENT)
        there = there && dense(c, s, TQ_DEFAULT_RECENT, &b->recent_k) &&
                dense(c, s, TQ_DEFAULT_RECENT, &b->recent_v);
    return there;
}

/* Bytes of codes and norms between the oldest position that is seen and the last coded one. */
static size_t bytes_read(const scene *c) {
    const attend_row *row = c->row;
    const size_t a_position = scene_row_bytes(row->k, row->dim) + scene_row_bytes(row->v, row->dim) + 4;
    size_t positions = 0;
    for (size_t i = 0; i < row->batch; i++) {
        const size_t length = (size_t)c->lengths[i], coded = (size_t)c->coded[i];
        const size_t oldest =
            row->options & WINDOW_SHORT && length > SHORT_WINDOW ? length - SHORT_WINDOW : c->first;
        positions += coded - oldest;
    }
    return positions * row->kv_heads * a_position;
}

int scene_open(scene *c, stage *s, const attend_row *row, int paged) {
    const size_t stretch = TQ_DEFAULT_CENTRE_STRETCH;
    tq_cuda_attention_batch shared;
    *c = (scene){.row = row,
                 .paged = paged,
                 .page_rows = paged ? PAGE_ROWS : row->positions,
                 .first = row->options & SINKS ? TQ_DEFAULT_SINKS : 0};
    c->pages = (row->positions + c->page_rows - 1) / c->page_rows;
    c->stretches = (row->positions + stretch - 1) / stretch;
    if (!host_arrays(c) || !shared_arrays(c, s, &shared)) return 0;
    c->bytes = bytes_read(c);
    const size_t held = row->batch * c->pages * c->page_rows * row->kv_heads *
                        (scene_row_bytes(row->k, row->dim) + scene_row_bytes(row->v, row->dim));
    c->sets = stage_sets(s, c->bytes, held, &s->codes);
    for (size_t i = 0; i < c->sets; i++)
        if (!one_set(c, s, i, &shared)) return 0;
    return c->sets > 0;
}

void scene_close(scene *c) {
    free(c->lengths);
    free(c->table);
    free(c->centre_table);
    free(c->sinks);
    free(c->q);
}
