/* SPDX-License-Identifier: MIT
 * Work on a CUDA device: what it needs is copied there, what comes out is copied back. All of a call's
 * data are in the device's memory at once, and everything happens in order on the default stream. */
#include <assert.h>
#include <cuda_runtime_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/device.h"
#include "base/encoding.h"
#include "base/message.h"
#include "tqkv/cuda_attention.h"

struct cli_device {
    tq_cuda *cuda;
    int number;
};

/* Device memory of a call. */
enum { MAX_PARTS = 16 };
typedef struct room {
    const cli_device *device;
    void *parts[MAX_PARTS];
    size_t n;
} room;

static tq_status check_cuda(const cli_device *device, cudaError_t error, const char *what) {
    if (error == cudaSuccess) return TQ_OK;
    (void)cudaGetLastError();
    return tq_fail(TQ_E_DEVICE, (uint64_t)error, "device", "cuda:%d: %s: CUDA says: %s", device->number,
                   what, cudaGetErrorString(error));
}

/* What the library says of the device gets its name. Memory that ran out is the device's, not ours. */
static tq_status check_library(const cli_device *device, tq_status status) {
    if (status != TQ_E_DEVICE && status != TQ_E_NO_MEMORY) return status;
    return tq_fail(TQ_E_DEVICE, tq_last_error()->index, "device", "cuda:%d: %s", device->number,
                   tq_last_error()->message);
}

int cli_open_device(int number, cli_device **device) {
    *device = NULL;
    if (number == CLI_CPU) return CLI_DONE;
    cli_device *d = calloc(1, sizeof *d);
    if (!d) return cli_out_of_memory();
    *device = d;
    d->number = number;
    if (tq_cuda_open(number, &d->cuda) != TQ_OK)
        return cli_fail("--device cuda:%d: %s", number, tq_last_error()->message);
    return cli_check("--device", check_cuda(d, cudaSetDevice(number), "opening it"));
}

void cli_close_device(cli_device *device) {
    if (device) tq_cuda_close(device->cuda);
    free(device);
}

void cli_device_text(const cli_device *device, char *text, size_t size) {
    snprintf(text, size, "cuda:%d, %s", device->number, tq_cuda_name(device->cuda));
}

bool cli_has_cuda(void) {
    return true;
}

size_t cli_count_devices(void) {
    return (size_t)tq_cuda_count();
}

tq_status cli_describe_device(size_t number, cli_device_info *info) {
    tq_cuda_info found = {.size = sizeof found};
    TRY_STATUS(tq_cuda_describe((int)number, &found));
    *info = (cli_device_info){.memory_bytes = (double)found.memory_bytes, .served = found.served != 0};
    snprintf(info->device, sizeof info->device, "cuda:%zu", number);
    snprintf(info->name, sizeof info->name, "%s", found.name);
    snprintf(info->capability, sizeof info->capability, "%d.%d", found.major, found.minor);
    return TQ_OK;
}

/* Zeroed. */
static tq_status take(room *r, size_t bytes, void **to) {
    size_t left = 0, all = 0;
    assert(r->n < MAX_PARTS);
    const cudaError_t error = cudaMalloc(to, bytes ? bytes : 1);
    if (error == cudaSuccess) {
        r->parts[r->n++] = *to;
        return check_cuda(r->device, cudaMemset(*to, 0, bytes), "clearing memory");
    }
    if (error != cudaErrorMemoryAllocation) return check_cuda(r->device, error, "taking memory");
    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&left, &all);
    return tq_fail(TQ_E_DEVICE, bytes, "device",
                   "cuda:%d is out of memory: %zu bytes are wanted, %zu of %zu are free",
                   r->device->number, bytes, left, all);
}

static void give_back(room *r) {
    for (size_t i = 0; i < r->n; i++)
        (void)cudaFree(r->parts[i]);
}

static tq_status copy_in(const room *r, void *to, const void *from, size_t bytes) {
    return check_cuda(r->device, cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "copying to it");
}

/* An error of a kernel that ran before is seen here. */
static tq_status copy_out(const room *r, void *to, const void *from, size_t bytes) {
    return check_cuda(r->device, cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "working on it");
}

/* NULL stays NULL. */
static tq_status upload(room *r, const void *from, size_t bytes, void **to) {
    *to = NULL;
    if (!from) return TQ_OK;
    TRY_STATUS(take(r, bytes, to));
    return copy_in(r, *to, from, bytes);
}

/* Positions first .. T-1 of every head, side by side. */
static tq_status upload_heads(room *r, const cli_heads *heads, size_t first, void **to) {
    const size_t dim = heads->head_dim, all = heads->n_positions, kept = (all - first) * dim;
    TRY_STATUS(take(r, heads->n_heads * kept * sizeof(float), to));
    for (size_t g = 0; g < heads->n_heads; g++)
        TRY_STATUS(copy_in(r, (float *)*to + g * kept, heads->data + (g * all + first) * dim,
                           kept * sizeof(float)));
    return TQ_OK;
}

static tq_status encode(room *r, const cli_heads *heads, size_t first, tq_encoded *out, uint64_t *fault) {
    void *src, *codes, *norms, *centre, *fault_there;
    TRY_STATUS(upload_heads(r, heads, first, &src));
    TRY_STATUS(take(r, out->n_codes, &codes));
    TRY_STATUS(take(r, out->n_norms, &norms));
    TRY_STATUS(upload(r, out->centre, cli_centre_values(out) * sizeof *out->centre, &centre));
    TRY_STATUS(upload(r, fault, sizeof *fault, &fault_there));
    const size_t kept = heads->n_positions - first;
    const tq_cuda_side side = {.codec = out->codec,
                               .src_type = TQ_F32,
                               .src = src,
                               .src_token_stride = heads->head_dim,
                               .src_head_stride = kept * heads->head_dim,
                               .codes = codes,
                               .n_codes = out->n_codes,
                               .norms = norms,
                               .n_norms = out->n_norms,
                               .centre = centre,
                               .n_centres = out->n_centres,
                               .centre_stretch = out->centre_stretch,
                               .fault = fault_there};
    const tq_cuda_encode_params params = {.size = sizeof params,
                                          .n_tokens = kept,
                                          .n_kv_heads = heads->n_heads,
                                          .k = &side,
                                          .n_slots = out->capacity,
                                          .first_slot = out->ring_start,
                                          .first_position = out->first_position};
    TRY_STATUS(check_library(r->device, tq_cuda_encode(r->device->cuda, &params, NULL)));
    TRY_STATUS(copy_out(r, out->codes, codes, out->n_codes));
    TRY_STATUS(copy_out(r, out->norms, norms, out->n_norms));
    return copy_out(r, fault, fault_there, sizeof *fault);
}

tq_status cli_device_encode(cli_device *device, const cli_heads *heads, size_t first, tq_encoded *out) {
    const size_t dim = heads->head_dim, kept = heads->n_positions - first;
    room r = {.device = device};
    uint64_t fault = UINT64_MAX;
    const tq_status status = encode(&r, heads, first, out, &fault);
    give_back(&r);
    if (status != TQ_OK) return status;
    out->n_positions = kept;
    if (fault == UINT64_MAX) return TQ_OK;
    const size_t g = (size_t)fault / (kept * dim), rest = (size_t)fault % (kept * dim);
    return tq_fail(TQ_E_RANGE, (g * heads->n_positions + first) * dim + rest, "src",
                   "a vector of head %zu cannot be encoded", g);
}

static size_t stretch_of(const tq_encoded *e, size_t position) {
    return e->centre_stretch == 0 ? 0 : (e->first_position + position) / e->centre_stretch;
}

/* Centres of the positions held, in their order: a ring of them may begin anywhere. */
static tq_status upload_centres(room *r, const tq_encoded *e, size_t *n, void **to) {
    const size_t first = stretch_of(e, 0), each = e->n_kv_heads * e->codec.head_dim;
    *to = NULL;
    *n = 0;
    if (!e->centre) return TQ_OK;
    *n = (stretch_of(e, e->n_positions - 1) - first + 1) * each;
    TRY_STATUS(take(r, *n * sizeof *e->centre, to));
    for (size_t i = 0; i * each < *n; i++)
        TRY_STATUS(copy_in(r, (uint16_t *)*to + i * each, e->centre + (first + i) % e->n_centres * each,
                           each * sizeof *e->centre));
    return TQ_OK;
}

/* What is to be decoded, and to where, on the device. */
typedef struct decoding {
    const tq_encoded *encoded;
    tq_domain domain;
    void *codes, *norms, *centre, *dst;
    size_t n_centre, n_dst, code_bytes, norm_bytes;
} decoding;

/* Positions from p on that lie side by side. */
static tq_status decode_run(const cli_device *device, const decoding *d, size_t p, size_t slot,
                            size_t rows) {
    const tq_encoded *e = d->encoded;
    const size_t dim = e->codec.head_dim, stretch = e->centre_stretch;
    const size_t passed = (stretch_of(e, p) - stretch_of(e, 0)) * e->n_kv_heads * dim;
    const tq_batch batch = {.heads = e->n_kv_heads,
                            .rows = rows,
                            .dense_head_stride = e->n_positions * dim,
                            .code_head_stride = e->capacity * d->code_bytes,
                            .norm_head_stride = e->capacity * d->norm_bytes,
                            .centre_stretch = stretch,
                            .centre_first = stretch == 0 ? 0 : (e->first_position + p) % stretch};
    return tq_cuda_decode(device->cuda, &e->codec, &batch, d->domain,
                          (uint8_t *)d->codes + slot * d->code_bytes, e->n_codes - slot * d->code_bytes,
                          (uint8_t *)d->norms + slot * d->norm_bytes, e->n_norms - slot * d->norm_bytes,
                          d->centre ? (uint16_t *)d->centre + passed : NULL, d->n_centre - passed, TQ_F32,
                          (float *)d->dst + p * dim, d->n_dst - p * dim, NULL);
}

static tq_status decode(room *r, decoding *d, float *dst) {
    const tq_encoded *e = d->encoded;
    d->n_dst = e->n_kv_heads * e->n_positions * e->codec.head_dim;
    TRY_STATUS(tq_row_size(&e->codec, &d->code_bytes, &d->norm_bytes));
    TRY_STATUS(upload(r, e->codes, e->n_codes, &d->codes));
    TRY_STATUS(upload(r, e->norms, e->n_norms, &d->norms));
    TRY_STATUS(upload_centres(r, e, &d->n_centre, &d->centre));
    TRY_STATUS(take(r, d->n_dst * sizeof(float), &d->dst));
    for (size_t p = 0, rows; p < e->n_positions; p += rows) {
        const size_t slot = (e->ring_start + p) % e->capacity, to_end = e->capacity - slot;
        rows = e->n_positions - p < to_end ? e->n_positions - p : to_end;
        TRY_STATUS(check_library(r->device, decode_run(r->device, d, p, slot, rows)));
    }
    return copy_out(r, dst, d->dst, d->n_dst * sizeof(float));
}

tq_status cli_device_decode(cli_device *device, const tq_encoded *encoded, tq_domain domain, float *dst) {
    room r = {.device = device};
    decoding d = {.encoded = encoded, .domain = domain};
    const tq_status status = decode(&r, &d, dst);
    give_back(&r);
    return status;
}

/* A kind of layer and how its positions are laid out for attention: the oldest at `base`, so that
 * stretches of keys begin where they did; position p in row p % rows. Rows of codes begin on multiples of
 * 16 bytes, and there is a multiple of 16 of them, as the fast kernels read them; unless base is not 0,
 * where they are a ring of exactly what is held, in which the base's positions are gone. */
typedef struct layout {
    size_t positions, base, rows;
    bool any;
} layout;

static layout lay_out(const tq_encoded *k) {
    layout l = {.positions = k->n_positions};
    if (k->centre_stretch != 0) l.base = k->first_position % k->centre_stretch;
    l.rows = l.base != 0 ? l.positions : (l.positions + 15) / 16 * 16;
    l.any = l.rows % 16 != 0;
    return l;
}

/* Codes or norms of the positions held, records of `bytes`, `stride` apart. */
static tq_status upload_rows(room *r, const tq_encoded *e, const layout *l, const void *from,
                             size_t bytes, size_t stride, void **to) {
    const size_t all = e->n_kv_heads * l->rows * stride;
    uint8_t *copy = calloc(all, 1);
    if (!copy) return TQ_E_NO_MEMORY;
    for (size_t g = 0; g < e->n_kv_heads; g++)
        for (size_t p = 0; p < l->positions; p++)
            memcpy(copy + (g * l->rows + (l->base + p) % l->rows) * stride,
                   (const uint8_t *)from + (g * e->capacity + (e->ring_start + p) % e->capacity) * bytes,
                   bytes);
    const tq_status status = upload(r, copy, all, to);
    free(copy);
    return status;
}

/* One page that holds everything. */
static tq_status upload_view(room *r, const tq_encoded *e, const layout *l, tq_view *view) {
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

/* Centres of keys in the order of their stretches, with a table that says so where there are several. */
static tq_status upload_key_centres(room *r, const tq_encoded *k, tq_cuda_attention_batch *batch,
                                    tq_view *view) {
    size_t n;
    void *centre, *table;
    TRY_STATUS(upload_centres(r, k, &n, &centre));
    if (!centre) return TQ_OK;
    const size_t count = n / k->n_kv_heads / k->codec.head_dim;
    view->centre = centre;
    view->n_centres = count;
    view->centre_stretch = k->centre_stretch;
    if (k->centre_stretch == 0) return TQ_OK;
    int32_t *numbers = malloc(count * sizeof *numbers);
    if (!numbers) return TQ_E_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        numbers[i] = (int32_t)i;
    const tq_status status = upload(r, numbers, count * sizeof *numbers, &table);
    free(numbers);
    batch->centre_tables = table;
    batch->centre_table_stride = count;
    return status;
}

static tq_cuda_attention_config config_of(const tq_attention_params *p, const layout *l, bool exact,
                                          const tq_encoded *k, const tq_encoded *v) {
    return (tq_cuda_attention_config){.size = sizeof(tq_cuda_attention_config),
                                      .layer = {.size = sizeof(tq_attention_config),
                                                .n_heads = p->n_heads,
                                                .n_kv_heads = p->n_kv_heads,
                                                .head_dim = p->head_dim,
                                                .k_format = k->codec.format,
                                                .v_format = v->codec.format,
                                                .scale = p->scale,
                                                .softcap = p->softcap,
                                                .bidirectional = p->bidirectional,
                                                .window = p->window,
                                                .max_queries = p->n_queries,
                                                .max_positions = l->base + l->positions},
                                      .accuracy = exact ? TQ_CUDA_EXACT : TQ_CUDA_FAST,
                                      .centre_stretch = k->centre_stretch,
                                      .any_layout = l->any};
}

/* [n][H] of the device to the command's [H][n]. */
static tq_status copy_out_lse(const room *r, const tq_attention_params *p, const float *from,
                              float *lse) {
    const size_t heads = p->n_heads, n = p->n_queries;
    float *rows = cli_new_floats(heads, n, 1);
    tq_status status = rows ? copy_out(r, rows, from, heads * n * sizeof *rows) : TQ_E_NO_MEMORY;
    for (size_t i = 0; status == TQ_OK && i < heads * n; i++)
        lse[i % heads * n + i / heads] = rows[i];
    free(rows);
    return status;
}

/* Queries and outputs, with the strides of [H][n][D]; lse has none. */
static tq_status take_rows(room *r, const tq_attention_params *p, const float *q,
                           tq_cuda_attention_batch *batch) {
    const size_t rows = (size_t)p->n_heads * p->n_queries, values = rows * p->head_dim;
    void *q_there, *lse;
    TRY_STATUS(upload(r, q, values * sizeof *q, &q_there));
    TRY_STATUS(take(r, values * sizeof(float), &batch->out));
    TRY_STATUS(take(r, rows * sizeof(float), &lse));
    batch->q = q_there;
    batch->lse = lse;
    batch->n_q = batch->n_out = values;
    batch->n_lse = rows;
    batch->q_token_stride = batch->out_token_stride = p->head_dim;
    batch->q_head_stride = batch->out_head_stride = p->n_queries * p->head_dim;
    return TQ_OK;
}

static tq_status run_attention(room *r, const tq_cuda_attention *plan, size_t workspace_bytes,
                               const tq_attention_params *p, const tq_cuda_attention_batch *batch,
                               float *out, float *lse) {
    void *workspace;
    TRY_STATUS(take(r, workspace_bytes, &workspace));
    TRY_STATUS(
        check_library(r->device, tq_cuda_attention_run(plan, batch, workspace, workspace_bytes, NULL)));
    TRY_STATUS(copy_out(r, out, batch->out, batch->n_out * sizeof *out));
    return copy_out_lse(r, p, batch->lse, lse);
}

/* One sequence. */
static tq_status attend(room *r, const tq_attention_params *p, bool exact, const tq_encoded *k,
                        const tq_encoded *v, const float *q, float *out, float *lse) {
    const layout l = lay_out(k);
    const tq_cuda_attention_config config = config_of(p, &l, exact, k, v);
    const int32_t length = (int32_t)(l.base + l.positions);
    tq_view k_view, v_view;
    tq_cuda_attention_batch batch = {
        .size = sizeof batch, .n_sequences = 1, .n_queries = p->n_queries, .k = &k_view, .v = &v_view};
    tq_cuda_attention *plan;
    tq_cuda_attention_info info;
    void *length_there;
    if (l.positions > INT32_MAX || l.base > INT32_MAX - l.positions)
        return tq_fail(TQ_E_POSITION, l.positions, "positions", "%zu positions; a device counts to 2^31",
                       l.positions);
    TRY_STATUS(upload_view(r, k, &l, &k_view));
    TRY_STATUS(upload_view(r, v, &l, &v_view));
    TRY_STATUS(upload_key_centres(r, k, &batch, &k_view));
    TRY_STATUS(upload(r, &length, sizeof length, &length_there));
    TRY_STATUS(take_rows(r, p, q, &batch));
    batch.lengths = length_there;
    TRY_STATUS(check_library(r->device, tq_cuda_attention_plan(r->device->cuda, &config, &plan, &info)));
    const tq_status status = run_attention(r, plan, info.workspace_bytes, p, &batch, out, lse);
    tq_cuda_attention_free(plan);
    return status;
}

tq_status cli_device_attend(cli_device *device, const tq_attention_params *params, bool exact,
                            const tq_encoded *k, const tq_encoded *v, const float *q, float *out,
                            float *lse) {
    room r = {.device = device};
    const tq_status status = attend(&r, params, exact, k, v, q, out, lse);
    give_back(&r);
    return status;
}
