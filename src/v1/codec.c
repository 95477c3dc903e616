/* SPDX-License-Identifier: MIT
 * The calls of tqkv/v1.h: parameter blocks checked, slots found, rows handed to the codec. */
#include "tqkv/v1.h"

#include "base/size.h"
#include "codec/rows.h"
#include "cpu/dispatch.h"

_Static_assert(sizeof(tq_dequantize_kv_params) == 24, "as the decoder's GPU kernel reads it");
_Static_assert(sizeof(tq_dequantize_hb_kv_params) == 28, "likewise");
_Static_assert(sizeof(tq_hadamard_quantize_kv_params) == 24, "as the encoder's GPU kernel reads it");
_Static_assert(sizeof(tq_hadamard_quantize_hb_kv_params) == 28, "likewise");

/* A cache of v1's layout, and which of its positions a call touches. */
typedef struct v1_cache {
    tq_plan plan;
    const tq_kernels *kernels;
    size_t heads, capacity;
    size_t packed_bytes, n_norms; /* of the whole cache */
} v1_cache;

static tq_format format_of(unsigned bits) {
    return (tq_format)(TQ_TQ4_V1 - 4 + bits);
}

static tq_status check_hb_bits(const char *name, unsigned bits) {
    if (bits == 5 || bits == 6 || bits == 8) return TQ_OK;
    return tq_fail(TQ_E_BITS, 0, name, "%s %u: there are 5, 6 and 8", name, bits);
}

static tq_status open_cache(v1_cache *c, unsigned bits, uint32_t head_dim, uint32_t heads,
                            uint32_t capacity, float scale_factor) {
    const tq_codec codec = {
        .format = format_of(bits), .head_dim = head_dim, .scale_factor_d512 = scale_factor};
    TRY(tq_plan_init(&c->plan, &codec));
    TRY(tq_active_kernels(&c->kernels));
    TRY(tq_plan_check_scale_factor(&c->plan, scale_factor));
    if (heads == 0)
        return tq_fail(TQ_E_HEADS, 0, "num_kv_heads", "num_kv_heads is 0: there must be one at least");
    c->heads = heads;
    c->capacity = capacity;
    if (!tq_size_mul(c->heads, c->capacity, &c->n_norms) ||
        !tq_size_mul(c->n_norms, c->plan.row_bytes, &c->packed_bytes) || c->packed_bytes > PTRDIFF_MAX)
        return tq_fail(TQ_E_OVERFLOW, 0, "cache_capacity",
                       "%u heads of %u positions do not fit in memory", heads, capacity);
    c->n_norms *= c->plan.n_norms; /* far fewer bytes than the codes */
    return TQ_OK;
}

static tq_status check_buffer(const char *name, const void *data, size_t there, size_t needed) {
    if (there < needed)
        return tq_fail(TQ_E_SIZE, 0, name, "%s: %zu elements are needed, %zu are there", name, needed,
                       there);
    return tq_check_not_null(name, data);
}

/* The cache's buffers and the dense one: large enough, and the dense one apart from the others. */
static tq_status check_buffers(const v1_cache *c, const uint8_t *packed, size_t packed_bytes,
                               const float *norms, size_t n_norms, const char *dense_name,
                               const float *dense, size_t n_dense, size_t dense_needed) {
    TRY(check_buffer("packed", packed, packed_bytes, c->packed_bytes));
    TRY(check_buffer("norms", norms, n_norms, c->n_norms));
    TRY(check_buffer(dense_name, dense, n_dense, dense_needed));
    const size_t norm_bytes = c->n_norms * sizeof(float), dense_bytes = dense_needed * sizeof(float);
    TRY(tq_check_apart(dense_name, dense, dense_bytes, "packed", packed, c->packed_bytes));
    return tq_check_apart(dense_name, dense, dense_bytes, "norms", norms, norm_bytes);
}

/* One position of every head. */
static tq_row_set heads_of(const v1_cache *c) {
    return (tq_row_set){.rows = c->heads,
                        .dense_stride = c->plan.dim,
                        .code_stride = c->capacity * c->plan.row_bytes,
                        .norm_stride = c->capacity * c->plan.norm_bytes};
}

static tq_status dequantize(const tq_dequantize_hb_kv_params *p, const uint8_t *packed,
                            size_t packed_bytes, const float *norms, size_t n_norms, float *dst,
                            size_t n_dst) {
    v1_cache c;
    TRY(open_cache(&c, p->codebook_bits, p->head_dim, p->num_kv_heads, p->cache_capacity,
                   p->scale_factor_d512));
    if (p->norms_per_pos != c.plan.n_norms)
        return tq_fail(TQ_E_NORMS_PER_POS, 0, "norms_per_pos", "norms_per_pos %u: head_dim %u has %zu",
                       p->norms_per_pos, p->head_dim, c.plan.n_norms);
    if (p->read_pos >= p->cache_capacity)
        return tq_fail(TQ_E_POSITION, 0, "read_pos", "read_pos %u: the cache holds %u positions",
                       p->read_pos, p->cache_capacity);
    TRY(check_buffers(&c, packed, packed_bytes, norms, n_norms, "dst", dst, n_dst, c.heads * c.plan.dim));
    const tq_row_set set = heads_of(&c);
    tq_decode_rows(c.kernels, &c.plan, &set, TQ_ROTATED, packed + p->read_pos * c.plan.row_bytes,
                   (const uint8_t *)(norms + p->read_pos * c.plan.n_norms), NULL, dst, false);
    return TQ_OK;
}

tq_status tq_dequantize_kv(const tq_dequantize_kv_params *params, const uint8_t *packed,
                           size_t packed_bytes, const float *norms, size_t n_norms, float *dst,
                           size_t n_dst) {
    TRY(tq_check_not_null("params", params));
    const tq_dequantize_hb_kv_params p = {params->head_dim,
                                          params->num_kv_heads,
                                          params->read_pos,
                                          params->cache_capacity,
                                          params->norms_per_pos,
                                          params->scale_factor_d512,
                                          4};
    return dequantize(&p, packed, packed_bytes, norms, n_norms, dst, n_dst);
}

tq_status tq_dequantize_hb_kv(const tq_dequantize_hb_kv_params *params, const uint8_t *packed,
                              size_t packed_bytes, const float *norms, size_t n_norms, float *dst,
                              size_t n_dst) {
    TRY(tq_check_not_null("params", params));
    TRY(check_hb_bits("codebook_bits", params->codebook_bits));
    return dequantize(params, packed, packed_bytes, norms, n_norms, dst, n_dst);
}

tq_status tq_requantize_to_f32_hb(const float *src, float *dst, size_t n, unsigned bits) {
    TRY(check_hb_bits("bits", bits));
    return tq_requantize(format_of(bits), src, dst, n);
}

/* Encodes tokens [first, n_tokens) of src [n_tokens][G][D]; token t goes to position write_pos + t. */
static void encode_tokens(const v1_cache *c, uint64_t write_pos, const float *src, size_t first,
                          size_t n_tokens, uint8_t *packed, float *norms) {
    const tq_row_set set = heads_of(c);
    for (size_t t = first; t < n_tokens; t++) {
        /* Below the capacity already in a global cache; there the remainder changes nothing. */
        const size_t slot = (size_t)((write_pos + t) % c->capacity);
        tq_encode_rows(c->kernels, &c->plan, &set, src + t * c->heads * c->plan.dim, NULL,
                       packed + slot * c->plan.row_bytes, (uint8_t *)(norms + slot * c->plan.n_norms));
    }
}

static tq_status check_positions(const tq_hadamard_quantize_hb_kv_params *p, size_t n_tokens) {
    const uint64_t capacity = p->cache_capacity;
    if (capacity == 0)
        return tq_fail(TQ_E_POSITION, 0, "cache_capacity", "cache_capacity is 0: nothing can be written");
    if (p->is_sliding) return TQ_OK;
    if (p->write_pos >= capacity || n_tokens > capacity - p->write_pos)
        return tq_fail(TQ_E_POSITION, 0, "write_pos",
                       "%zu positions from write_pos %u on: the cache holds %u", n_tokens, p->write_pos,
                       p->cache_capacity);
    return TQ_OK;
}

static tq_status quantize(const tq_hadamard_quantize_hb_kv_params *p, const float *src, size_t n_src,
                          size_t n_tokens, uint8_t *packed, size_t packed_bytes, float *norms,
                          size_t n_norms) {
    v1_cache c;
    size_t src_needed;
    TRY(open_cache(&c, p->codebook_bits, p->head_dim, p->num_kv_heads, p->cache_capacity,
                   p->scale_factor_d512));
    TRY(check_positions(p, n_tokens));
    if (n_tokens == 0) return TQ_OK;
    TRY(tq_check_product("src", n_tokens, c.heads * c.plan.dim, sizeof(float), &src_needed));
    src_needed /= sizeof(float);
    TRY(check_buffers(&c, packed, packed_bytes, norms, n_norms, "src", src, n_src, src_needed));
    TRY(tq_check_apart("packed", packed, c.packed_bytes, "norms", norms, c.n_norms * sizeof(float)));
    const tq_rows all = {"src", src, sizeof(float), src_needed, 1, 1, src_needed, src_needed};
    TRY(tq_rows_check_values(c.kernels, &all));
    const size_t first = n_tokens > c.capacity ? n_tokens - c.capacity : 0;
    encode_tokens(&c, p->write_pos, src, first, n_tokens, packed, norms);
    return TQ_OK;
}

tq_status tq_hadamard_quantize_kv_seq(const tq_hadamard_quantize_kv_params *params, const float *src,
                                      size_t n_src, size_t n_tokens, uint8_t *packed, size_t packed_bytes,
                                      float *norms, size_t n_norms) {
    TRY(tq_check_not_null("params", params));
    const tq_hadamard_quantize_hb_kv_params p = {params->head_dim,
                                                 params->num_kv_heads,
                                                 params->write_pos,
                                                 params->cache_capacity,
                                                 params->is_sliding,
                                                 params->scale_factor_d512,
                                                 4};
    return quantize(&p, src, n_src, n_tokens, packed, packed_bytes, norms, n_norms);
}

tq_status tq_hadamard_quantize_hb_kv_seq(const tq_hadamard_quantize_hb_kv_params *params,
                                         const float *src, size_t n_src, size_t n_tokens, uint8_t *packed,
                                         size_t packed_bytes, float *norms, size_t n_norms) {
    TRY(tq_check_not_null("params", params));
    TRY(check_hb_bits("codebook_bits", params->codebook_bits));
    return quantize(params, src, n_src, n_tokens, packed, packed_bytes, norms, n_norms);
}

tq_status tq_hadamard_quantize_kv(const tq_hadamard_quantize_kv_params *params, const float *src,
                                  size_t n_src, uint8_t *packed, size_t packed_bytes, float *norms,
                                  size_t n_norms) {
    return tq_hadamard_quantize_kv_seq(params, src, n_src, 1, packed, packed_bytes, norms, n_norms);
}

tq_status tq_hadamard_quantize_hb_kv(const tq_hadamard_quantize_hb_kv_params *params, const float *src,
                                     size_t n_src, uint8_t *packed, size_t packed_bytes, float *norms,
                                     size_t n_norms) {
    return tq_hadamard_quantize_hb_kv_seq(params, src, n_src, 1, packed, packed_bytes, norms, n_norms);
}

static tq_status rotate(const float *src, float *dst, size_t n_rows, uint32_t head_dim, tq_domain to) {
    return tq_rotate(&(tq_codec){.format = TQ_TQ4_V1, .head_dim = head_dim}, to, n_rows, src, dst);
}

tq_status tq_hadamard_rotate_in(const float *src, float *dst, size_t n_rows, uint32_t head_dim) {
    return rotate(src, dst, n_rows, head_dim, TQ_ROTATED);
}

tq_status tq_hadamard_rotate_out(const float *src, float *dst, size_t n_rows, uint32_t head_dim) {
    return rotate(src, dst, n_rows, head_dim, TQ_ORIGINAL);
}
