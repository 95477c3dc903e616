/* SPDX-License-Identifier: MIT
 * The reference kernels of the v1 layout, as C functions on their own parameter blocks.
 *
 * Byte-compatible with caches that other engines hold: parameter blocks, codes, norms and decoded
 * values. Layout, for G heads and a capacity of C positions:
 *   packed  [G][C][D/2] at 4 bits (even coordinate in the low nibble), [G][C][D] at 5, 6 and 8 bits
 *   norms   [G][C] float32 at D = 256, [G][C][2] at D = 512 (a norm for each 256 coordinates)
 * D is 256 or 512. Buffers may be larger than their shape; offsets are 64-bit.
 * Accuracy class: exact, but for attention, which is bounded. Nothing here allocates; all functions are
 * reentrant.
 * On failure nothing is written, and tq_last_error() tells what was wrong. */
#ifndef TQKV_V1_H
#define TQKV_V1_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** 24 bytes, little-endian 32-bit fields, as the decoder's GPU kernel reads them. */
typedef struct tq_dequantize_kv_params {
    uint32_t head_dim;       /**< D, 256 or 512 */
    uint32_t num_kv_heads;   /**< G, at least 1 */
    uint32_t read_pos;       /**< physical slot to read, below cache_capacity (rings: already wrapped) */
    uint32_t cache_capacity; /**< C */
    uint32_t norms_per_pos;  /**< 1 at D = 256, 2 at D = 512 */
    float scale_factor_d512; /**< positive, finite; used at D = 512 only */
} tq_dequantize_kv_params;

/** 28 bytes: the same, then the codebook. */
typedef struct tq_dequantize_hb_kv_params {
    uint32_t head_dim;
    uint32_t num_kv_heads;
    uint32_t read_pos;
    uint32_t cache_capacity;
    uint32_t norms_per_pos;
    float scale_factor_d512;
    uint32_t codebook_bits; /**< 5, 6 or 8 */
} tq_dequantize_hb_kv_params;

/** 24 bytes. */
typedef struct tq_hadamard_quantize_kv_params {
    uint32_t head_dim;
    uint32_t num_kv_heads;
    uint32_t write_pos;      /**< first logical position to write */
    uint32_t cache_capacity; /**< C */
    uint32_t is_sliding;     /**< 0: slot = write_pos, below C. Otherwise a ring: slot = write_pos % C */
    float scale_factor_d512;
} tq_hadamard_quantize_kv_params;

/** 28 bytes: the same, then the codebook. */
typedef struct tq_hadamard_quantize_hb_kv_params {
    uint32_t head_dim;
    uint32_t num_kv_heads;
    uint32_t write_pos;
    uint32_t cache_capacity;
    uint32_t is_sliding;
    float scale_factor_d512;
    uint32_t codebook_bits; /**< 5, 6 or 8 */
} tq_hadamard_quantize_hb_kv_params;

/** Decodes one position of a 4-bit cache into the rotated domain.
 *
 * params        see above
 * packed        [G][C][D/2], packed_bytes bytes
 * norms         [G][C] or [G][C][2] float32, n_norms floats; any values
 * dst           [G][D] float32 out, n_dst floats; must not overlap packed or norms
 *
 * Value: centroid * (norm / sqrt(256)) at D = 256, centroid * (norm_b / scale_factor_d512) at D = 512.
 * TQ_E_NULL, TQ_E_HEAD_DIM, TQ_E_HEADS, TQ_E_POSITION, TQ_E_NORMS_PER_POS, TQ_E_SCALE_FACTOR,
 * TQ_E_OVERFLOW, TQ_E_SIZE, TQ_E_OVERLAP. */
TQ_API tq_status tq_dequantize_kv(const tq_dequantize_kv_params *params, const uint8_t *packed,
                                  size_t packed_bytes, const float *norms, size_t n_norms, float *dst,
                                  size_t n_dst);

/** The same for 5, 6 and 8 bits: packed [G][C][D], one code a byte, unused high bits ignored.
 * Errors as for tq_dequantize_kv(), and TQ_E_BITS. */
TQ_API tq_status tq_dequantize_hb_kv(const tq_dequantize_hb_kv_params *params, const uint8_t *packed,
                                     size_t packed_bytes, const float *norms, size_t n_norms, float *dst,
                                     size_t n_dst);

/** Snaps rotated vectors of unit variance to the nearest 5-, 6- or 8-bit centroid.
 *
 * src   [n] float32, finite
 * dst   [n] float32 out; may be src itself, other overlaps are TQ_E_OVERLAP
 * bits  5, 6 or 8
 *
 * TQ_E_BITS, TQ_E_NULL, TQ_E_OVERFLOW, TQ_E_OVERLAP, TQ_E_NOT_FINITE with the index. */
TQ_API tq_status tq_requantize_to_f32_hb(const float *src, float *dst, size_t n, unsigned bits);

/** Encodes one position at 4 bits: signs, Walsh-Hadamard transform, norm, nearest centroid, pack.
 *
 * src           [G][D] float32, n_src floats, finite and at most TQ_MAX_ABS in magnitude
 * packed        [G][C][D/2] in and out: the position's slot is written, nothing else
 * norms         [G][C] or [G][C][2] likewise
 *
 * TQ_E_NULL, TQ_E_HEAD_DIM, TQ_E_HEADS, TQ_E_POSITION, TQ_E_SCALE_FACTOR, TQ_E_OVERFLOW, TQ_E_SIZE,
 * TQ_E_OVERLAP; TQ_E_NOT_FINITE and TQ_E_RANGE with the index in src. */
TQ_API tq_status tq_hadamard_quantize_kv(const tq_hadamard_quantize_kv_params *params, const float *src,
                                         size_t n_src, uint8_t *packed, size_t packed_bytes, float *norms,
                                         size_t n_norms);

/** The same for 5, 6 and 8 bits: packed [G][C][D]. Errors likewise, and TQ_E_BITS. */
TQ_API tq_status tq_hadamard_quantize_hb_kv(const tq_hadamard_quantize_hb_kv_params *params,
                                            const float *src, size_t n_src, uint8_t *packed,
                                            size_t packed_bytes, float *norms, size_t n_norms);

/** Encodes n_tokens positions at 4 bits, from write_pos on.
 *
 * src   [n_tokens][G][D] float32, n_src floats. A ring that holds fewer keeps the last C, in order
 *       (every value is checked, the dropped ones too). Zero tokens: nothing to do.
 *
 * Errors as for tq_hadamard_quantize_kv(); TQ_E_POSITION if a global cache has no room for all. */
TQ_API tq_status tq_hadamard_quantize_kv_seq(const tq_hadamard_quantize_kv_params *params,
                                             const float *src, size_t n_src, size_t n_tokens,
                                             uint8_t *packed, size_t packed_bytes, float *norms,
                                             size_t n_norms);

/** The same for 5, 6 and 8 bits. */
TQ_API tq_status tq_hadamard_quantize_hb_kv_seq(const tq_hadamard_quantize_hb_kv_params *params,
                                                const float *src, size_t n_src, size_t n_tokens,
                                                uint8_t *packed, size_t packed_bytes, float *norms,
                                                size_t n_norms);

/** Rotates queries into the v1 domain: sign flip, then the orthonormal Walsh-Hadamard transform.
 *
 * src       [n_rows][D] float32
 * dst       [n_rows][D] float32 out; may be src itself, other overlaps are TQ_E_OVERLAP
 * head_dim  256 or 512
 *
 * TQ_E_NULL, TQ_E_HEAD_DIM, TQ_E_OVERFLOW, TQ_E_OVERLAP. */
TQ_API tq_status tq_hadamard_rotate_in(const float *src, float *dst, size_t n_rows, uint32_t head_dim);

/** Rotates attention outputs back: the transform, then the sign flip. Arguments likewise. */
TQ_API tq_status tq_hadamard_rotate_out(const float *src, float *dst, size_t n_rows, uint32_t head_dim);

/** Which keys a query sees. Query i of n stands at logical position kv_seq_len - n + i. */
typedef enum tq_mask_type {
    TQ_MASK_NONE = 0,
    TQ_MASK_CAUSAL = 1, /**< those up to its own position */
    TQ_MASK_SLIDING = 2 /**< of those, the last sliding_window */
} tq_mask_type;

/** 40 bytes: attention over dense vectors. */
typedef struct tq_flash_attn_vec_params {
    uint32_t n_heads;        /**< H, a multiple of n_kv_heads */
    uint32_t n_kv_heads;     /**< G, at least 1 */
    uint32_t head_dim;       /**< D, 256 or 512 */
    uint32_t kv_seq_len;     /**< T, positions attended to, at most kv_capacity; 0 is fine */
    uint32_t kv_capacity;    /**< C, at least 1 */
    float scale;             /**< scores are multiplied by it; finite and not 0 (TQ_E_SCALE) */
    uint32_t mask_type;      /**< a tq_mask_type */
    uint32_t sliding_window; /**< read with TQ_MASK_SLIDING; at least 1 */
    float softcap;           /**< then cap * tanh(score / cap); 0: off */
    uint32_t nwg;            /**< stretches of positions worked on apart, then merged; at least 1 */
} tq_flash_attn_vec_params;

/** 48 bytes: the same over a 4-bit cache, which may be a ring. */
typedef struct tq_flash_attn_vec_tq_params {
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t kv_seq_len;
    uint32_t kv_capacity;
    float scale;
    uint32_t mask_type;
    uint32_t sliding_window;
    float softcap;
    uint32_t nwg;
    uint32_t ring_start; /**< slot of logical position 0, below kv_capacity */
    float scale_factor_d512;
} tq_flash_attn_vec_tq_params;

/** 52 bytes: the same, then the codebook. */
typedef struct tq_flash_attn_vec_tq_hb_params {
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t kv_seq_len;
    uint32_t kv_capacity;
    float scale;
    uint32_t mask_type;
    uint32_t sliding_window;
    float softcap;
    uint32_t nwg;
    uint32_t ring_start;
    float scale_factor_d512;
    uint32_t codebook_bits; /**< 5, 6 or 8 */
} tq_flash_attn_vec_tq_hb_params;

/** Workspace of the three calls below, the same for all: enough for n_queries queries a head.
 *
 * Fewer positions never want more, so that the size for a full cache serves it while it fills.
 * TQ_E_NULL and whatever is wrong with params; *bytes untouched on failure. */
TQ_API tq_status tq_flash_attn_vec_workspace(const tq_flash_attn_vec_params *params, size_t n_queries,
                                             size_t *bytes);

/** Attention of rotated queries over dense, rotated vectors: a shadow cache that a decoder filled.
 *
 * params      see above
 * n_queries   n, per head. 0: nothing to do
 * q           [H][n][D] float32, n_q floats, finite, rotated (tq_hadamard_rotate_in())
 * k, v        [G][C][D] float32, n_k and n_v floats, rotated; logical position = slot
 * dst         [H][n][D] float32 out, n_dst floats, left rotated. Rows that see no key are zeros
 * workspace   workspace_bytes bytes, at least tq_flash_attn_vec_workspace()'s, aligned to 64
 *
 * dst and workspace must not overlap each other nor anything else.
 *
 * Accuracy class: bounded, as tq_attention(). nwg changes the order of sums, and so the last bits.
 * TQ_E_NULL, TQ_E_HEADS, TQ_E_HEAD_DIM, TQ_E_POSITION (kv_seq_len, kv_capacity, ring_start,
 * sliding_window, more queries than positions under a causal or sliding mask), TQ_E_NOT_FINITE (scale,
 * softcap, q with the index), TQ_E_SCALE, TQ_E_MASK, TQ_E_SIZE (buffers, nwg), TQ_E_OVERFLOW,
 * TQ_E_OVERLAP. */
TQ_API tq_status tq_flash_attn_vec(const tq_flash_attn_vec_params *params, size_t n_queries,
                                   const float *q, size_t n_q, const float *k, size_t n_k, const float *v,
                                   size_t n_v, float *dst, size_t n_dst, void *workspace,
                                   size_t workspace_bytes);

/** The same on 4-bit codes as they lie.
 *
 * k_packed, v_packed   [G][C][D/2], k_bytes and v_bytes bytes
 * k_norms, v_norms     [G][C] or [G][C][2] float32, n_k_norms and n_v_norms floats
 *
 * Errors as above, and TQ_E_SCALE_FACTOR. */
TQ_API tq_status tq_flash_attn_vec_tq(const tq_flash_attn_vec_tq_params *params, size_t n_queries,
                                      const float *q, size_t n_q, const uint8_t *k_packed, size_t k_bytes,
                                      const float *k_norms, size_t n_k_norms, const uint8_t *v_packed,
                                      size_t v_bytes, const float *v_norms, size_t n_v_norms, float *dst,
                                      size_t n_dst, void *workspace, size_t workspace_bytes);

/** The same on 5-, 6- and 8-bit codes, [G][C][D] a byte each. Errors as above, and TQ_E_BITS. */
TQ_API tq_status tq_flash_attn_vec_tq_hb(const tq_flash_attn_vec_tq_hb_params *params, size_t n_queries,
                                         const float *q, size_t n_q, const uint8_t *k_packed,
                                         size_t k_bytes, const float *k_norms, size_t n_k_norms,
                                         const uint8_t *v_packed, size_t v_bytes, const float *v_norms,
                                         size_t n_v_norms, float *dst, size_t n_dst, void *workspace,
                                         size_t workspace_bytes);

#ifdef __cplusplus
}
#endif
#endif
