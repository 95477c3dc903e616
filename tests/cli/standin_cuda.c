/* SPDX-License-Identifier: MIT
 * CUDA and libtqkv_cuda for machines without a device: memory of the host, which is filled with garbage,
 * and the CPU's codec and attention behind the same calls. It shows that the command lays out what it
 * copies as the headers ask for it, and what it says when a device refuses; of a device's kernels it
 * shows nothing.
 *
 * There are two devices, the second one too old, and none if CUDA_VISIBLE_DEVICES is empty.
 * STANDIN_MEMORY is the largest allocation, in bytes; with STANDIN_FAULT every copy back fails.
 * STANDIN_WRONG makes its kernels wrong: "decode", the decoder's values are twice what they should be;
 * "sums", attention's outputs are 1.25 times that, but for a window of one position. */
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tqkv/cuda_attention.h"
#include "tqkv/tqkv.h"

struct tq_cuda {
    int device;
};

struct tq_cuda_attention {
    tq_cuda_attention_config config;
};

static int is_wrong(const char *what) {
    const char *wrong = getenv("STANDIN_WRONG");
    return wrong && strcmp(wrong, what) == 0;
}

cudaError_t cudaSetDevice(int device) {
    return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaMalloc(void **to, size_t bytes) {
    const char *most = getenv("STANDIN_MEMORY");
    if (most && bytes > strtoull(most, NULL, 10)) return cudaErrorMemoryAllocation;
    *to = malloc(bytes);
    if (!*to) return cudaErrorMemoryAllocation;
    memset(*to, 0xA5, bytes);
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory) {
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaMemset(void *to, int byte, size_t bytes) {
    memset(to, byte, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    if (kind == cudaMemcpyDeviceToHost && getenv("STANDIN_FAULT")) return cudaErrorLaunchFailure;
    memcpy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
    (void)stream;
    return cudaMemcpy(to, from, bytes, kind);
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    (void)attribute, (void)device;
    *value = 1 << 16;
    return cudaSuccess;
}

/* An event is a time in microseconds. */
cudaError_t cudaEventCreate(cudaEvent_t *event) {
    *event = calloc(1, sizeof(double));
    return *event ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    free(event);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    struct timespec now;
    (void)stream;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *(double *)(void *)event = 1e6 * (double)now.tv_sec + 1e-3 * (double)now.tv_nsec;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    (void)event;
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
    *ms = (float)(1e-3 * (*(double *)(void *)to - *(double *)(void *)from));
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *all) {
    *left = 1000;
    *all = 2000;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void) {
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorLaunchFailure ? "unspecified launch failure" : "another error";
}

int tq_cuda_count(void) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    return visible && !*visible ? 0 : 2;
}

tq_status tq_cuda_describe(int device, tq_cuda_info *info) {
    *info = (tq_cuda_info){.size = sizeof *info,
                           .name = "Stand-in of a name that is longer than most are",
                           .major = device == 0 ? 9 : 7,
                           .served = device == 0,
                           .memory_bytes = (uint64_t)80 << 30};
    return TQ_OK;
}

const char *tq_cuda_name(const tq_cuda *cuda) {
    (void)cuda;
    return "Stand-in of a name that is longer than most are";
}

tq_status tq_cuda_open(int device, tq_cuda **cuda) {
    const int n = tq_cuda_count();
    *cuda = NULL;
    if (n == 0)
        return tq_fail(TQ_E_DEVICE, 0, "device",
                       "device %d: CUDA has none (is there a driver?) and says: no", device);
    if (device >= n)
        return tq_fail(TQ_E_DEVICE, 0, "device", "device %d: CUDA has %d, numbered from 0", device, n);
    if (device == 1)
        return tq_fail(TQ_E_DEVICE, 7, "device",
                       "device 1 has compute capability 7.0: 8.0 is wanted at least");
    *cuda = calloc(1, sizeof **cuda);
    return *cuda ? TQ_OK : TQ_E_NO_MEMORY;
}

void tq_cuda_close(tq_cuda *cuda) {
    free(cuda);
}

/* A vector at a time, each with its slot and centre. */
static tq_status encode_vector(const tq_cuda_encode_params *p, size_t g, size_t t) {
    const tq_cuda_side *k = p->k;
    const size_t dim = k->codec.head_dim, at = t * k->src_token_stride + g * k->src_head_stride;
    const size_t row = g * p->n_slots + (p->first_slot + t) % p->n_slots;
    const size_t stretch = k->centre_stretch;
    const size_t number = stretch ? (p->first_position + t) / stretch % k->n_centres : 0;
    const uint16_t *centre = k->centre ? k->centre + (number * p->n_kv_heads + g) * dim : NULL;
    size_t code_bytes, norm_bytes;
    tq_row_size(&k->codec, &code_bytes, &norm_bytes);
    if ((row + 1) * code_bytes > k->n_codes || (row + 1) * norm_bytes > k->n_norms) return TQ_E_SIZE;
    const tq_status status =
        tq_encode(&k->codec, &(tq_batch){.heads = 1, .rows = 1}, (const float *)k->src + at, dim, centre,
                  centre ? dim : 0, (uint8_t *)k->codes + row * code_bytes, code_bytes,
                  (uint8_t *)k->norms + row * norm_bytes, norm_bytes);
    if (status != TQ_E_RANGE) return status;
    if (at < *k->fault) *k->fault = at;
    return TQ_OK;
}

tq_status tq_cuda_encode(tq_cuda *cuda, const tq_cuda_encode_params *params, void *stream) {
    tq_status status = TQ_OK;
    (void)cuda, (void)stream;
    for (size_t i = 0; status == TQ_OK && i < params->n_tokens * params->n_kv_heads; i++)
        status = encode_vector(params, i / params->n_tokens, i % params->n_tokens);
    return status;
}

tq_status tq_cuda_decode(tq_cuda *cuda, const tq_codec *codec, const tq_batch *batch, tq_domain domain,
                         const void *codes, size_t n_codes, const void *norms, size_t n_norms,
                         const uint16_t *centre, size_t n_centre, tq_type type, void *dst, size_t n_dst,
                         void *stream) {
    (void)cuda, (void)type, (void)stream;
    const tq_status status =
        tq_decode(codec, batch, domain, codes, n_codes, norms, n_norms, centre, n_centre, dst, n_dst);
    for (size_t i = 0; is_wrong("decode") && i < batch->rows * codec->head_dim; i++)
        ((float *)dst)[i] *= 2.0f; /* of the first head */
    return status;
}

tq_status tq_cuda_attention_plan(tq_cuda *cuda, const tq_cuda_attention_config *config,
                                 tq_cuda_attention **attention, tq_cuda_attention_info *info) {
    (void)cuda;
    *info = (tq_cuda_attention_info){.workspace_bytes = 256};
    *attention = calloc(1, sizeof **attention);
    if (!*attention) return TQ_E_NO_MEMORY;
    (*attention)->config = *config;
    return TQ_OK;
}

void tq_cuda_attention_free(tq_cuda_attention *attention) {
    free(attention);
}

/* Codes from position `first` on: the one page, whose slot 0 is that of `origin`, a ring where a sequence
 * without a table is longer; the CPU reads any layout, fast kernels do not. */
static tq_status as_ring(const tq_cuda_attention_config *config, const tq_view *from, size_t origin,
                         size_t first, tq_view *to) {
    size_t code_bytes, norm_bytes;
    tq_row_size(&from->codec, &code_bytes, &norm_bytes);
    const int aligned = from->page_rows % 16 == 0 && from->row_stride % 16 == 0;
    const int beside = from->norm_row_stride == 0 || from->norm_row_stride == norm_bytes;
    if (!config->any_layout && !(aligned && beside))
        return tq_fail(TQ_E_STRIDE, 0, "layout", "the fast kernels do not read this layout");
    *to = *from;
    to->capacity = from->page_rows;
    to->ring_start = (first - origin) % from->page_rows;
    to->page_rows = to->pool_pages = 0;
    return TQ_OK;
}

/* [n][H] of rows of `size` floats, strides apart, from [H][n], or the other way. */
static void put_rows(const tq_attention_params *p, const float *from, size_t from_head, size_t from_token,
                     float *to, size_t to_head, size_t to_token, size_t size) {
    for (size_t h = 0; h < p->n_heads; h++)
        for (size_t i = 0; i < p->n_queries; i++)
            memcpy(to + h * to_head + i * to_token, from + h * from_head + i * from_token,
                   size * sizeof(float));
}

static tq_status attend(const tq_attention_params *p, const tq_segment *segments, size_t n_segments,
                        const tq_cuda_attention_batch *b, size_t sequence) {
    const size_t dim = p->head_dim, n = p->n_queries, rows = p->n_heads * n, token = sequence * n;
    size_t bytes;
    tq_status status = tq_attention_workspace(p, segments, n_segments, &bytes);
    if (status != TQ_OK) return status;
    void *workspace = aligned_alloc(64, bytes);
    float *q = malloc(rows * dim * sizeof *q), *out = malloc(rows * dim * sizeof *out),
          *lse = malloc(rows * sizeof *lse);
    put_rows(p, (const float *)b->q + token * b->q_token_stride, b->q_head_stride, b->q_token_stride, q,
             n * dim, dim, dim);
    status = tq_attention(p, segments, n_segments, q, rows * dim, out, rows * dim, lse, rows, workspace,
                          bytes);
    for (size_t i = 0; is_wrong("sums") && p->window != 1 && i < rows * dim; i++)
        out[i] *= 1.25f;
    put_rows(p, out, n * dim, dim, (float *)b->out + token * b->out_token_stride, b->out_head_stride,
             b->out_token_stride, dim);
    put_rows(p, lse, n, 1, b->lse + token * p->n_heads, 1, p->n_heads, 1);
    free(workspace);
    free(q);
    free(out);
    free(lse);
    return status;
}

static tq_status dense_view(const tq_cuda_dense *d, const tq_attention_params *p, size_t rows,
                            size_t first, tq_view *view) {
    if (d->row_stride % 8 != 0 || d->head_stride % 8 != 0)
        return tq_fail(TQ_E_STRIDE, 0, "dense", "strides that no multiple of 8 are");
    const tq_status status = tq_view_dense(view, TQ_F16, p->head_dim, p->n_kv_heads, rows, d->data, d->n);
    view->row_stride = d->row_stride * sizeof(uint16_t);
    view->head_stride = d->head_stride * sizeof(uint16_t);
    view->ring_start = first % rows;
    return status;
}

/* Sinks or recent positions [first, end); none: nothing is added. */
static tq_status add_dense(const tq_attention_params *p, const tq_cuda_dense *k, const tq_cuda_dense *v,
                           size_t rows, size_t first, size_t end, tq_segment *segments, size_t *n) {
    if (first >= end) return TQ_OK;
    tq_segment *s = &segments[(*n)++];
    *s = (tq_segment){.length = end - first, .first_position = first};
    const tq_status status = dense_view(k, p, rows, first, &s->k);
    return status == TQ_OK ? dense_view(v, p, rows, first, &s->v) : status;
}

/* Codes [first, end). */
static tq_status add_codes(const tq_cuda_attention_config *config, const tq_cuda_attention_batch *b,
                           size_t sequence, size_t first, size_t end, tq_segment *segments, size_t *n) {
    const size_t origin = (size_t)b->code_first, rows = b->k->page_rows;
    if (!b->block_tables && end > origin + rows && first < end - rows) first = end - rows;
    if (first < origin) first = origin;
    if (first >= end) return TQ_OK;
    if (b->block_tables && b->block_tables[sequence * b->table_stride] != 0) return TQ_E_POSITION;
    tq_segment *s = &segments[(*n)++];
    *s = (tq_segment){.length = end - first, .first_position = first};
    tq_status status = as_ring(config, b->k, origin, first, &s->k);
    if (status == TQ_OK) status = as_ring(config, b->v, origin, first, &s->v);
    if (b->k->centre_stretch != 0) {
        s->k.centre_table = b->centre_tables + sequence * b->centre_table_stride;
        s->k.n_centre_table = b->centre_table_stride;
    }
    return status;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

static tq_status run_sequence(const tq_cuda_attention_config *config, const tq_cuda_attention_batch *b,
                              size_t i) {
    const tq_attention_config *layer = &config->layer;
    const size_t length = (size_t)b->lengths[i], sinks = least(b->n_sinks, length);
    size_t coded = b->coded_lengths ? least((size_t)b->coded_lengths[i], length) : length, n = 0;
    if (coded < sinks) coded = sinks;
    const tq_attention_params params = {.size = sizeof params,
                                        .n_heads = layer->n_heads,
                                        .n_kv_heads = layer->n_kv_heads,
                                        .head_dim = layer->head_dim,
                                        .n_queries = b->n_queries,
                                        .query_end = length,
                                        .scale = layer->scale,
                                        .arithmetic = TQ_ARITHMETIC_FLOAT,
                                        .softcap = layer->softcap,
                                        .bidirectional = layer->bidirectional,
                                        .window = layer->window};
    tq_segment segments[3];
    if (b->dense_rows && b->dense_rows[i] != 0) return TQ_E_POSITION;
    tq_status status = add_dense(&params, &b->sink_k, &b->sink_v, b->n_sinks, 0, sinks, segments, &n);
    if (status == TQ_OK) status = add_codes(config, b, i, sinks, coded, segments, &n);
    if (status == TQ_OK)
        status = add_dense(&params, &b->recent_k, &b->recent_v, b->recent_capacity, coded, length,
                           segments, &n);
    return status == TQ_OK ? attend(&params, segments, n, b, i) : status;
}

tq_status tq_cuda_attention_run(const tq_cuda_attention *attention, const tq_cuda_attention_batch *b,
                                void *workspace, size_t workspace_bytes, void *stream) {
    const tq_cuda_attention_config *config = &attention->config;
    tq_status status = TQ_OK;
    (void)workspace, (void)workspace_bytes, (void)stream;
    if (b->n_sequences > config->layer.max_sequences ||
        b->n_sequences * b->n_queries > config->layer.max_queries)
        return tq_fail(TQ_E_SIZE, b->n_sequences, "n_sequences", "more than the plan is for");
    if (!config->dense && (b->n_sinks > 0 || b->recent_capacity > 0))
        return tq_fail(TQ_E_FORMAT, 0, "sink_k", "the plan is for codes alone");
    for (size_t i = 0; status == TQ_OK && i < b->n_sequences; i++)
        status = run_sequence(config, b, i);
    return status;
}
