/* SPDX-License-Identifier: MIT
 * The reference's two decoders, on their own parameter blocks. */
#include "base/check.h"
#include "base/size.h"
#include "device.h"

static tq_status check_block(const tq_dequantize_hb_kv_params *p, const tq_plan *plan) {
    if (p->num_kv_heads == 0)
        return tq_fail(TQ_E_HEADS, 0, "num_kv_heads", "num_kv_heads is 0: there must be one at least");
    if (p->norms_per_pos != plan->n_norms)
        return tq_fail(TQ_E_NORMS_PER_POS, 0, "norms_per_pos", "norms_per_pos %u: head_dim %u has %zu",
                       p->norms_per_pos, p->head_dim, plan->n_norms);
    if (p->read_pos >= p->cache_capacity)
        return tq_fail(TQ_E_POSITION, 0, "read_pos", "read_pos %u: the cache holds %u positions",
                       p->read_pos, p->cache_capacity);
    return TQ_OK;
}

/* One position of every head: rows of one, as far apart as the heads of the cache. */
static tq_status dequantize(tq_cuda *cuda, const tq_dequantize_hb_kv_params *p, const uint8_t *packed,
                            size_t packed_bytes, const float *norms, size_t n_norms, float *dst,
                            size_t n_dst, void *stream) {
    const tq_codec codec = {.format = (tq_format)(TQ_TQ4_V1 - 4 + p->codebook_bits),
                            .head_dim = p->head_dim,
                            .scale_factor_d512 = p->scale_factor_d512};
    tq_plan plan;
    size_t rows;
    TRY(tq_plan_init(&plan, &codec));
    TRY(tq_plan_check_scale_factor(&plan, p->scale_factor_d512));
    TRY(check_block(p, &plan));
    if (!tq_size_mul(p->num_kv_heads, p->cache_capacity, &rows))
        return tq_fail(TQ_E_OVERFLOW, 0, "cache_capacity",
                       "%u heads of %u positions do not fit in memory", p->num_kv_heads,
                       p->cache_capacity);
    TRY(tq_check_product("packed", rows, plan.row_bytes, 1, NULL));
    if (packed_bytes < rows * plan.row_bytes)
        return tq_fail(TQ_E_SIZE, 0, "packed", "packed: %zu bytes are needed, %zu are there",
                       rows * plan.row_bytes, packed_bytes);
    if (n_norms < rows * plan.n_norms)
        return tq_fail(TQ_E_SIZE, 0, "norms", "norms: %zu elements are needed, %zu are there",
                       rows * plan.n_norms, n_norms);
    TRY(tq_check_not_null("packed", packed));
    TRY(tq_check_not_null("norms", norms));
    const tq_batch batch = {.heads = p->num_kv_heads,
                            .rows = 1,
                            .code_head_stride = p->cache_capacity * plan.row_bytes,
                            .norm_head_stride = p->cache_capacity * plan.norm_bytes};
    const size_t code_at = p->read_pos * plan.row_bytes, norm_at = p->read_pos * plan.n_norms;
    return tq_cuda_decode(cuda, &codec, &batch, TQ_ROTATED, packed + code_at, packed_bytes - code_at,
                          norms + norm_at, (n_norms - norm_at) * sizeof *norms, NULL, 0, TQ_F32, dst,
                          n_dst, stream);
}

tq_status tq_cuda_dequantize_kv(tq_cuda *cuda, const tq_dequantize_kv_params *params,
                                const uint8_t *packed, size_t packed_bytes, const float *norms,
                                size_t n_norms, float *dst, size_t n_dst, void *stream) {
    TRY(tq_check_not_null("params", params));
    const tq_dequantize_hb_kv_params p = {params->head_dim,
                                          params->num_kv_heads,
                                          params->read_pos,
                                          params->cache_capacity,
                                          params->norms_per_pos,
                                          params->scale_factor_d512,
                                          4};
    return dequantize(cuda, &p, packed, packed_bytes, norms, n_norms, dst, n_dst, stream);
}

tq_status tq_cuda_dequantize_hb_kv(tq_cuda *cuda, const tq_dequantize_hb_kv_params *params,
                                   const uint8_t *packed, size_t packed_bytes, const float *norms,
                                   size_t n_norms, float *dst, size_t n_dst, void *stream) {
    TRY(tq_check_not_null("params", params));
    const unsigned bits = params->codebook_bits;
    if (bits != 5 && bits != 6 && bits != 8)
        return tq_fail(TQ_E_BITS, 0, "codebook_bits", "codebook_bits %u: there are 5, 6 and 8", bits);
    return dequantize(cuda, params, packed, packed_bytes, norms, n_norms, dst, n_dst, stream);
}
