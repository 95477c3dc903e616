/* SPDX-License-Identifier: MIT
 * Attention on a CUDA device: codes and float16 vectors laid out there as its kernels read them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cuda_room.h"
#include "base/cuda_time.h"
#include "tqkv/cuda_attention.h"

/* How positions are laid out: the oldest held is position `base`, so that stretches of keys begin where
 * they did, and lies in row `row`, the next in the next one, as in a ring. Rows of codes begin on
 * multiples of 16 bytes, and there is a multiple of 16 of them, as the fast kernels read them; unless
 * stretches begin before what is held, which is then a ring of exactly that: the base's positions are
 * gone. A window that hides all else makes a ring too, of fast rows. */
typedef struct layout {
    size_t positions, base, rows, row;
    size_t n_sequences;
    bool any;
} layout;

static bool looks_back_on(const tq_attention_params *p, size_t positions) {
    return p->window != 0 && p->window <= positions && p->n_queries - 1 <= positions - p->window;
}

static layout lay_out(const tq_attention_params *p, const cli_device_cache *c) {
    const tq_encoded *k = c->k;
    layout l = {.positions = k->n_positions, .n_sequences = c->n_sequences > 1 ? c->n_sequences : 1};
    /* A query before position 0 would see nothing: where there is no mask each is the newest one. */
    if (p->bidirectional && p->window == 0) l.n_sequences = p->n_queries;
    l.rows = (l.positions + 15) / 16 * 16;
    if (k->centre_stretch != 0) l.base = k->first_position % k->centre_stretch;
    if (l.n_sequences > 1) return l; /* they share a page, which is no ring */
    if (l.base != 0) {
        l.rows = l.positions;
        l.any = l.rows % 16 != 0;
        l.row = l.base % l.rows;
    } else if (k->centre_stretch == 0 && k->first_position != 0 && looks_back_on(p, l.positions)) {
        l.row = k->first_position % l.rows;
        l.base = l.rows + l.row;
    }
    return l;
}

/* Codes or norms of the positions held, records of `bytes`, `stride` apart. */
static tq_status upload_rows(cli_room *r, const tq_encoded *e, const layout *l, const void *from,
                             size_t bytes, size_t stride, void **to) {
    const size_t all = e->n_kv_heads * l->rows * stride;
    uint8_t *copy = calloc(all, 1);
    if (!copy) return TQ_E_NO_MEMORY;
    for (size_t g = 0; g < e->n_kv_heads; g++)
        for (size_t p = 0; p < l->positions; p++)
            memcpy(copy + (g * l->rows + (l->row + p) % l->rows) * stride,
                   (const uint8_t *)from + (g * e->capacity + (e->ring_start + p) % e->capacity) * bytes,
                   bytes);
    const tq_status status = cli_room_upload(r, copy, all, to);
    free(copy);
    return status;
}

/* One page that holds everything. */
static tq_status upload_view(cli_room *r, const tq_encoded *e, const layout *l, tq_view *view) {
    size_t code_bytes, norm_bytes;
    void *codes, *norms;
    TRY_STATUS(tq_row_size(&e->codec, &code_bytes, &norm_bytes));
    const size_t stride = (code_bytes + 15) / 16 * 16;
    TRY_STATUS(upload_rows(r, e, l, e->codes, code_bytes, stride, &codes));
    TRY_STATUS(upload_rows(r, e, l, e->norms, norm_bytes, norm_bytes, &norms));
    *view = (tq_view){.store = TQ_STORE_CODES,
                      .codec = e->codec,
                      .data = codes,
                      .data_bytes = e->n_kv_heads * l->rows * stride,
                      .norms = norms,
                      .n_norms = e->n_kv_heads * l->rows * norm_bytes,
                      .capacity = l->rows,
                      .row_stride = stride,
                      .head_stride = l->rows * stride,
                      .norm_head_stride = l->rows * norm_bytes,
                      .page_rows = l->rows,
                      .pool_pages = 1};
    return TQ_OK;
}

/* int32 on the device; rows [n_rows] of the same n numbers, or of 0, 1, .. n - 1 where there are none. */
static tq_status upload_numbers(cli_room *r, const size_t *numbers, size_t n, size_t n_rows,
                                const int32_t **to) {
    void *there;
    int32_t *all = n > SIZE_MAX / sizeof *all / n_rows ? NULL : malloc(n * n_rows * sizeof *all);
    if (!all) return tq_fail(TQ_E_NO_MEMORY, 0, "numbers", "no memory");
    for (size_t i = 0; i < n * n_rows; i++)
        all[i] = (int32_t)(numbers ? numbers[i % n] : i % n);
    const tq_status status = cli_room_upload(r, all, n * n_rows * sizeof *all, &there);
    free(all);
    *to = there;
    return status;
}

/* Centres of keys in the order of their stretches, with a table that says so where there are several. */
static tq_status upload_key_centres(cli_room *r, const tq_encoded *k, tq_cuda_attention_batch *batch,
                                    tq_view *view) {
    size_t n;
    void *centre;
    TRY_STATUS(cli_room_centres(r, k, &n, &centre));
    if (!centre) return TQ_OK;
    const size_t count = n / k->n_kv_heads / k->codec.head_dim;
    view->centre = centre;
    view->n_centres = count;
    view->centre_stretch = k->centre_stretch;
    if (k->centre_stretch == 0) return TQ_OK;
    batch->centre_table_stride = count;
    return upload_numbers(r, NULL, count, batch->n_sequences, &batch->centre_tables);
}

/* What is in float16, to the last bit; all of a head's positions side by side. */
static tq_status upload_young(cli_room *r, const tq_encoded *e, const float *young, tq_cuda_dense *to) {
    const size_t n = e->n_kv_heads * e->n_positions * e->codec.head_dim;
    void *there;
    uint16_t *halves = malloc(n * sizeof *halves);
    if (!halves) return tq_fail(TQ_E_NO_MEMORY, 0, "young", "no memory");
    tq_status status = tq_round_centre(young, halves, n);
    if (status == TQ_OK) status = cli_room_upload(r, halves, n * sizeof *halves, &there);
    free(halves);
    if (status == TQ_OK)
        *to = (tq_cuda_dense){.data = there,
                              .n = n,
                              .row_stride = e->codec.head_dim,
                              .head_stride = e->n_positions * e->codec.head_dim};
    return status;
}

/* Sinks are the first of the same positions that recent ones are the last of; all sequences share them.
 */
static tq_status upload_dense(cli_room *r, const cli_device_cache *c, tq_cuda_attention_batch *b) {
    const size_t positions = c->k->n_positions, zero = 0;
    if (!c->k_young) return TQ_OK;
    TRY_STATUS(upload_young(r, c->k, c->k_young, &b->recent_k));
    TRY_STATUS(upload_young(r, c->v, c->v_young, &b->recent_v));
    TRY_STATUS(upload_numbers(r, c->young_from, b->n_sequences, 1, &b->coded_lengths));
    TRY_STATUS(upload_numbers(r, &zero, 1, b->n_sequences, &b->dense_rows));
    b->recent_capacity = positions;
    b->n_dense_rows = 1;
    b->n_sinks = c->n_sinks < positions ? c->n_sinks : positions;
    if (b->n_sinks == 0) return TQ_OK;
    b->sink_k = b->recent_k;
    b->sink_v = b->recent_v;
    return TQ_OK;
}

/* Lengths count from position 0, which what is held need not begin with. */
static tq_status upload_lengths(cli_room *r, const cli_device_cache *c, const layout *l,
                                tq_cuda_attention_batch *b) {
    const size_t n = b->n_sequences, all = l->base + l->positions, zero = 0;
    if (l->n_sequences > 1) {
        TRY_STATUS(upload_numbers(r, &zero, 1, n, &b->block_tables));
        b->table_stride = 1;
        b->code_first = l->base;
    }
    if (!c->lengths) return upload_numbers(r, &all, 1, n, &b->lengths);
    size_t *lengths = malloc(n * sizeof *lengths);
    if (!lengths) return tq_fail(TQ_E_NO_MEMORY, 0, "lengths", "no memory");
    for (size_t i = 0; i < n; i++)
        lengths[i] = l->base + c->lengths[c->n_sequences > 1 ? i : 0];
    const tq_status status = upload_numbers(r, lengths, n, 1, &b->lengths);
    free(lengths);
    return status;
}

static tq_cuda_attention_config config_of(const tq_attention_params *p, const layout *l, bool exact,
                                          const cli_device_cache *c) {
    return (tq_cuda_attention_config){.size = sizeof(tq_cuda_attention_config),
                                      .layer = {.size = sizeof(tq_attention_config),
                                                .n_heads = p->n_heads,
                                                .n_kv_heads = p->n_kv_heads,
                                                .head_dim = p->head_dim,
                                                .k_format = c->k->codec.format,
                                                .v_format = c->v->codec.format,
                                                .scale = p->scale,
                                                .softcap = p->softcap,
                                                .bidirectional = p->bidirectional,
                                                .window = p->window,
                                                .max_sequences = l->n_sequences,
                                                .max_queries = p->n_queries,
                                                .max_positions = l->base + l->positions},
                                      .accuracy = exact ? TQ_CUDA_EXACT : TQ_CUDA_FAST,
                                      .dense = c->k_young != NULL,
                                      .centre_stretch = c->k->centre_stretch,
                                      .any_layout = l->any};
}

/* [n][H] of the device to the command's [H][n]. */
static tq_status copy_out_lse(const cli_room *r, const tq_attention_params *p, const float *from,
                              float *lse) {
    const size_t heads = p->n_heads, n = p->n_queries;
    float *rows = cli_new_floats(heads, n, 1);
    tq_status status = rows ? cli_room_copy_out(r, rows, from, heads * n * sizeof *rows) : TQ_E_NO_MEMORY;
    for (size_t i = 0; status == TQ_OK && i < heads * n; i++)
        lse[i % heads * n + i / heads] = rows[i];
    free(rows);
    return status;
}

/* Queries and outputs, with the strides of [H][n][D]; lse has none. */
static tq_status take_rows(cli_room *r, const tq_attention_params *p, const float *q,
                           tq_cuda_attention_batch *batch) {
    const size_t rows = (size_t)p->n_heads * p->n_queries, values = rows * p->head_dim;
    void *q_there, *lse;
    TRY_STATUS(cli_room_upload(r, q, values * sizeof *q, &q_there));
    TRY_STATUS(cli_room_take(r, values * sizeof(float), &batch->out));
    TRY_STATUS(cli_room_take(r, rows * sizeof(float), &lse));
    batch->q = q_there;
    batch->lse = lse;
    batch->n_q = batch->n_out = values;
    batch->n_lse = rows;
    batch->q_token_stride = batch->out_token_stride = p->head_dim;
    batch->q_head_stride = batch->out_head_stride = p->n_queries * p->head_dim;
    return TQ_OK;
}

/* A plan, and copies of what its calls read: codes and norms of keys and values. */
typedef struct calls {
    const tq_cuda_attention *plan;
    tq_cuda_attention_batch batches[CLI_MOST_SETS];
    tq_view k[CLI_MOST_SETS], v[CLI_MOST_SETS];
    size_t n;
    void *workspace;
    size_t workspace_bytes;
} calls;

static tq_status launch(void *work, size_t set) {
    const calls *c = work;
    return tq_cuda_attention_run(c->plan, &c->batches[set], c->workspace, c->workspace_bytes, NULL);
}

static tq_status copy_there(cli_room *r, const void *from, size_t bytes, const void **to) {
    void *copy;
    TRY_STATUS(cli_room_take(r, bytes, &copy));
    *to = copy;
    return cli_check_cuda(r->device, cudaMemcpy(copy, from, bytes, cudaMemcpyDeviceToDevice),
                          "copying within it");
}

static tq_status copy_view(cli_room *r, const tq_view *from, tq_view *to) {
    *to = *from;
    TRY_STATUS(copy_there(r, from->data, from->data_bytes, &to->data));
    return copy_there(r, from->norms, from->n_norms, &to->norms);
}

/* What is met again at once would be in the device's cache. */
static tq_status time_calls(cli_room *r, calls *c) {
    const tq_cuda_attention_batch *first = &c->batches[0];
    if (!r->device->timing) return TQ_OK;
    TRY_STATUS(cli_count_sets(
        r->device, first->k->data_bytes + first->k->n_norms + first->v->data_bytes + first->v->n_norms,
        &c->n));
    for (size_t i = 1; i < c->n; i++) {
        TRY_STATUS(copy_view(r, first->k, &c->k[i]));
        TRY_STATUS(copy_view(r, first->v, &c->v[i]));
        c->batches[i] = *first;
        c->batches[i].k = &c->k[i];
        c->batches[i].v = &c->v[i];
    }
    return cli_time_launches(r, launch, c, c->n);
}

static tq_status run_attention(cli_room *r, const tq_cuda_attention *plan, size_t workspace_bytes,
                               const tq_attention_params *p, const tq_cuda_attention_batch *batch,
                               float *out, float *lse) {
    calls c = {.plan = plan, .batches = {*batch}, .n = 1, .workspace_bytes = workspace_bytes};
    TRY_STATUS(cli_room_take(r, workspace_bytes, &c.workspace));
    TRY_STATUS(cli_check_library(r->device, launch(&c, 0)));
    TRY_STATUS(cli_room_copy_out(r, out, batch->out, batch->n_out * sizeof *out));
    TRY_STATUS(copy_out_lse(r, p, batch->lse, lse));
    return time_calls(r, &c);
}

static tq_status check_counts(const tq_attention_params *p, const layout *l) {
    if (l->positions > INT32_MAX || l->base > INT32_MAX - l->positions)
        return tq_fail(TQ_E_POSITION, l->positions, "positions", "%zu positions; a device counts to 2^31",
                       l->positions);
    if (l->n_sequences > 1 && l->n_sequences != p->n_queries)
        return tq_fail(TQ_E_SIZE, l->n_sequences, "n_sequences", "%zu sequences of %zu queries",
                       l->n_sequences, p->n_queries);
    return TQ_OK;
}

static tq_status attend(cli_room *r, const tq_attention_params *p, bool exact, const cli_device_cache *c,
                        const float *q, float *out, float *lse) {
    const layout l = lay_out(p, c);
    const tq_cuda_attention_config config = config_of(p, &l, exact, c);
    tq_view k_view, v_view;
    tq_cuda_attention_batch batch = {.size = sizeof batch,
                                     .n_sequences = l.n_sequences,
                                     .n_queries = p->n_queries / l.n_sequences,
                                     .k = &k_view,
                                     .v = &v_view};
    tq_cuda_attention *plan;
    tq_cuda_attention_info info;
    TRY_STATUS(check_counts(p, &l));
    TRY_STATUS(upload_view(r, c->k, &l, &k_view));
    TRY_STATUS(upload_view(r, c->v, &l, &v_view));
    TRY_STATUS(upload_key_centres(r, c->k, &batch, &k_view));
    TRY_STATUS(upload_dense(r, c, &batch));
    TRY_STATUS(upload_lengths(r, c, &l, &batch));
    TRY_STATUS(take_rows(r, p, q, &batch));
    TRY_STATUS(
        cli_check_library(r->device, tq_cuda_attention_plan(r->device->cuda, &config, &plan, &info)));
    const tq_status status = run_attention(r, plan, info.workspace_bytes, p, &batch, out, lse);
    tq_cuda_attention_free(plan);
    return status;
}

tq_status cli_device_attend(cli_device *device, const tq_attention_params *params, bool exact,
                            const cli_device_cache *cache, const float *q, float *out, float *lse) {
    cli_room r = {.device = device};
    const tq_status status = attend(&r, params, exact, cache, q, out, lse);
    cli_room_free(&r);
    return status;
}
