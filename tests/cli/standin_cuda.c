/* SPDX-License-Identifier: MIT
 * CUDA and libtqkv_cuda for machines without a device: memory of the host, which is filled with garbage,
 * and the CPU's codec and attention behind the same calls. It shows that the command lays out what it
 * copies as the headers ask for it, and what it says when a device refuses; of a device's kernels it
 * shows nothing.
 *
 * There are two devices, the second one too old, and none if CUDA_VISIBLE_DEVICES is empty.
 * STANDIN_MEMORY is the largest allocation, in bytes; with STANDIN_FAULT every copy back fails. */
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tqkv/cuda_attention.h"
#include "tqkv/tqkv.h"

struct tq_cuda {
    int device;
};

struct tq_cuda_attention {
    tq_cuda_attention_config config;
};

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
    return tq_decode(codec, batch, domain, codes, n_codes, norms, n_norms, centre, n_centre, dst, n_dst);
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

/* The one page as a ring, which it is once the sequence is longer; the CPU reads any layout, fast kernels
 * do not. */
static tq_status as_ring(const tq_cuda_attention_config *config, const tq_view *from, size_t first,
                         tq_view *to) {
    size_t code_bytes, norm_bytes;
    tq_row_size(&from->codec, &code_bytes, &norm_bytes);
    const int aligned = from->page_rows % 16 == 0 && from->row_stride % 16 == 0;
    const int beside = from->norm_row_stride == 0 || from->norm_row_stride == norm_bytes;
    if (!config->any_layout && !(aligned && beside))
        return tq_fail(TQ_E_STRIDE, 0, "layout", "the fast kernels do not read this layout");
    *to = *from;
    to->capacity = from->page_rows;
    to->ring_start = first % from->page_rows;
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

static tq_status attend(const tq_attention_params *p, const tq_segment *segment,
                        const tq_cuda_attention_batch *b) {
    const size_t dim = p->head_dim, n = p->n_queries, rows = p->n_heads * n;
    size_t bytes;
    tq_status status = tq_attention_workspace(p, segment, 1, &bytes);
    if (status != TQ_OK) return status;
    void *workspace = aligned_alloc(64, bytes);
    float *q = malloc(rows * dim * sizeof *q), *out = malloc(rows * dim * sizeof *out),
          *lse = malloc(rows * sizeof *lse);
    put_rows(p, b->q, b->q_head_stride, b->q_token_stride, q, n * dim, dim, dim);
    status = tq_attention(p, segment, 1, q, rows * dim, out, rows * dim, lse, rows, workspace, bytes);
    put_rows(p, out, n * dim, dim, b->out, b->out_head_stride, b->out_token_stride, dim);
    put_rows(p, lse, n, 1, b->lse, 1, p->n_heads, 1);
    free(workspace);
    free(q);
    free(out);
    free(lse);
    return status;
}

tq_status tq_cuda_attention_run(const tq_cuda_attention *attention, const tq_cuda_attention_batch *b,
                                void *workspace, size_t workspace_bytes, void *stream) {
    const tq_attention_config *layer = &attention->config.layer;
    const size_t length = (size_t)b->lengths[0], rows = b->k->page_rows;
    const size_t first = length > rows ? length - rows : 0;
    tq_segment segment = {.length = length - first, .first_position = first};
    const tq_attention_params params = {.size = sizeof params,
                                        .n_heads = layer->n_heads,
                                        .n_kv_heads = layer->n_kv_heads,
                                        .head_dim = layer->head_dim,
                                        .n_queries = b->n_queries,
                                        .query_end = length,
                                        .scale = layer->scale,
                                        .softcap = layer->softcap,
                                        .bidirectional = layer->bidirectional,
                                        .window = layer->window};
    (void)workspace, (void)workspace_bytes, (void)stream;
    tq_status status = as_ring(&attention->config, b->k, first, &segment.k);
    if (status == TQ_OK) status = as_ring(&attention->config, b->v, first, &segment.v);
    if (status != TQ_OK) return status;
    if (b->k->centre_stretch != 0) {
        segment.k.centre_table = b->centre_tables;
        segment.k.n_centre_table = b->centre_table_stride;
    }
    return attend(&params, &segment, b);
}
