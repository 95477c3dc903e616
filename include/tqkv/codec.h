/* SPDX-License-Identifier: MIT
 * Encode, decode, requantise and rotate vectors of every format. docs/format.md is the contract.
 *
 * Letters: G KV heads, T positions, D head dimension, B bits of a code. Vectors are float32, D values
 * side by side. Sizes and strides of vectors are in floats, those of codes and norms in bytes.
 *
 * Accuracy class of everything here: exact. The same input gives the same bytes on every machine,
 * instruction set and thread count, given IEEE float32 with rounding to nearest and denormals kept. */
#ifndef TQKV_CODEC_H
#define TQKV_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/runtime.h"
#include "tqkv/status.h"
#include "tqkv/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** All formats, in the order in which tables show them. Static storage; *count tells how many. */
TQ_API const tq_format *tq_formats(size_t *count);

/** The format's name, such as "tq4" or "tq8-v1"; NULL for a value that is none. */
TQ_API const char *tq_format_name(tq_format format);

/** The format of that name. TQ_E_NULL, TQ_E_FORMAT; *format is untouched on failure. */
TQ_API tq_status tq_format_from_name(const char *name, tq_format *format);

/** The rule that encoders of the format follow: `rule`, or what TQ_NORM_DEFAULT stands for. Of a format
 * or rule that is none, `rule`. */
TQ_API tq_norm_rule tq_norm_rule_of(tq_format format, tq_norm_rule rule);

/** The rule's name, "plain", "matched" or "unbiased", as files have it; NULL for any other value, and for
 * TQ_NORM_DEFAULT, which stands for one of these. */
TQ_API const char *tq_norm_rule_name(tq_norm_rule rule);

/** The rule of that name. TQ_E_NULL, TQ_E_NORM_RULE; *rule is untouched on failure. */
TQ_API tq_status tq_norm_rule_from_name(const char *name, tq_norm_rule *rule);

/** What the codec needs to know about a set of vectors. */
typedef struct tq_codec {
    tq_format format;
    uint32_t head_dim;       /**< D. v2: a multiple of 16 from 32 to 1024. v1: 256 or 512 */
    tq_norm_rule norm_rule;  /**< read by encoders; v1 knows TQ_NORM_PLAIN alone */
    float scale_factor_d512; /**< read by v1 at D = 512 only: positive and finite; 1 is usual */
} tq_codec;

/** Size of one encoded vector.
 *
 * codec        the format and D (norm_rule is not looked at)
 * code_bytes   bytes of codes: D*B/8 for v2 and tq4-v1, D for the other v1 formats. May be NULL
 * norm_bytes   bytes of norms: 2 for v2, a float16; 4 for v1, a float32, and 8 at D = 512, two of them.
 *              May be NULL
 *
 * TQ_E_NULL, TQ_E_FORMAT, TQ_E_HEAD_DIM; outputs untouched on failure. */
TQ_API tq_status tq_row_size(const tq_codec *codec, size_t *code_bytes, size_t *norm_bytes);

/** Where the vectors of a batch lie: `heads` times `rows` of them, on both sides.
 *
 * A stride of 0 means contiguous: rows follow each other without a gap, heads likewise, any other number
 * what it says: positions outermost, records of codes and norms, gaps.
 * Rows of one array must not overlap; a stride shorter than what it steps over is TQ_E_STRIDE. */
typedef struct tq_batch {
    size_t heads;                /**< G */
    size_t rows;                 /**< T */
    size_t dense_row_stride;     /**< floats from a vector to the next; 0: D */
    size_t dense_head_stride;    /**< floats from a head to the next; 0: rows * dense_row_stride */
    size_t code_row_stride;      /**< bytes from a row of codes to the next; 0: code_bytes */
    size_t code_head_stride;     /**< bytes from a head's codes to the next; 0: rows * code_row_stride */
    size_t norm_row_stride;      /**< bytes from a row's norms to the next; 0: norm_bytes */
    size_t norm_head_stride;     /**< bytes from a head's norms to the next; 0: rows * norm_row_stride */
    size_t centre_stretch;       /**< L: positions that share a centre; 0: all do */
    size_t centre_first;         /**< position of row 0: row t has centre (centre_first + t) / L. For rows
                                      that begin late, let `centre` begin with their stretch's and give
                                      their place in it */
    const tq_parallel *parallel; /**< threads to work on; NULL: the calling one alone */
} tq_batch;

/** Encodes G x T vectors.
 *
 * Per vector: subtract the centre, flip signs, rotate, take the norm, scale to unit variance, take the
 * nearest centroid of each coordinate, pack.
 *
 * codec    format, D, norm rule
 * batch    G, T and strides; zero heads or rows: nothing to do, TQ_OK
 * src      [G][T][D] float32, finite, at most TQ_MAX_ABS in magnitude
 * n_src    floats in src
 * centre   [S][G][D] float16, subtracted from the vectors: S is 1, or with stretches
 *          (centre_first + T - 1) / L + 1. NULL: none. See tq_learn_centre() and
 *          tq_round_centre()
 * n_centre float16 numbers in centre; without stretches neither fewer nor more (TQ_E_SIZE)
 * codes    [G][T][code_bytes] out; bytes between rows (strides) are left alone
 * n_codes  bytes in codes
 * norms    [G][T][norm_bytes] out: float16 for v2, float32 for v1
 * n_norms  bytes in norms
 *
 * Vectors are aligned as floats; codes and norms may lie anywhere. Outputs may not overlap each other or
 * an input; rows of codes and norms may interleave.
 * TQ_E_NULL, TQ_E_FORMAT, TQ_E_HEAD_DIM, TQ_E_NORM_RULE, TQ_E_SCALE_FACTOR, TQ_E_STRIDE, TQ_E_OVERFLOW,
 * TQ_E_SIZE, TQ_E_OVERLAP: nothing is written. TQ_E_NOT_FINITE with the lowest index in centre (field
 * "centre"): nothing is written. TQ_E_NOT_FINITE and TQ_E_RANGE with the lowest index in src (field
 * "src"): the vector at fault is not written, others may be. TQ_E_RANGE too, with the index of the
 * vector's first value, if its norm is above TQ_MAX_NORM, which float16 cannot hold; its codes may then
 * be written, its norm is not. Values are checked on the way, because a pass of its own over src would
 * cost as much as the encoding where src comes from memory; count positions as held once TQ_OK is there.
 * A vector of v2 whose norm rounds to 0 in float16 (a length of 2^-25 or less) has codes of 0 and decodes
 * to zeros, and below 2^-14 norms are subnormal, in steps of 2^-24; v1 stores a norm up to 1e-10 but
 * codes the vector as zero.
 *
 * Cost: O(D log D) a vector, no allocation. Thread safety: reentrant. Source: TurboQuant
 * (arXiv:2504.19874, Algorithm 1); norm rules: docs/format.md. */
TQ_API tq_status tq_encode(const tq_codec *codec, const tq_batch *batch, const float *src, size_t n_src,
                           const uint16_t *centre, size_t n_centre, uint8_t *codes, size_t n_codes,
                           void *norms, size_t n_norms);

/** The common part of keys as a centre: their mean, rounded to float16; zeros for heads in which it has
 * less than half of the keys' mean square, since such a mean seldom holds for what comes later.
 *
 * head_dim   D, a multiple of 16 up to 1024
 * batch      G, T (the keys to learn from, at least 1) and strides of `keys`; the rest is not looked at
 * keys       [G][T][D] float32, finite, at most 65504 in magnitude; n_keys floats
 * centre     [G][D] float16 out; n_centre numbers
 *
 * Sums run over T in order, in double precision. TQ_E_NULL, TQ_E_HEAD_DIM, TQ_E_HEADS (G is 0),
 * TQ_E_POSITION (T is 0), TQ_E_STRIDE, TQ_E_OVERFLOW, TQ_E_SIZE, TQ_E_OVERLAP; TQ_E_NOT_FINITE and
 * TQ_E_RANGE with the index. On failure nothing is written. */
TQ_API tq_status tq_learn_centre(uint32_t head_dim, const tq_batch *batch, const float *keys,
                                 size_t n_keys, uint16_t *centre, size_t n_centre);

/** n numbers to float16, to nearest, ties to even: for a centre that is known.
 *
 * src   [n] float32, finite, at most 65504 in magnitude (TQ_E_NOT_FINITE, TQ_E_RANGE with the index)
 * dst   [n] out; must not overlap src
 *
 * TQ_E_NULL, TQ_E_OVERFLOW, TQ_E_OVERLAP. On failure nothing is written. */
TQ_API tq_status tq_round_centre(const float *src, uint16_t *dst, size_t n);

/** Decodes G x T vectors: the inverse of tq_encode() but for the quantisation.
 *
 * codec    format and D (norm_rule is not looked at)
 * batch    G, T and strides
 * domain   TQ_ROTATED: as attention on rotated queries wants them. TQ_ORIGINAL: un-rotated
 * codes    [G][T][code_bytes], n_codes bytes
 * norms    [G][T][norm_bytes], n_norms bytes; any value, used as it is
 * centre   [S][G][D] float16, as tq_encode() took it, added to the vectors (rotated first, for
 *          TQ_ROTATED); NULL: none
 * n_centre float16 numbers in centre
 * dst      [G][T][D] float32 out, n_dst floats
 *
 * Status as for tq_encode() without the data errors, and TQ_E_DOMAIN. On failure nothing is written.
 * Cost: O(D) rotated, O(D log D) original; no allocation. Thread safety: reentrant. */
TQ_API tq_status tq_decode(const tq_codec *codec, const tq_batch *batch, tq_domain domain,
                           const uint8_t *codes, size_t n_codes, const void *norms, size_t n_norms,
                           const uint16_t *centre, size_t n_centre, float *dst, size_t n_dst);

/** Rotates n_rows vectors of the codec's D into the rotated domain (TQ_ROTATED) or back (TQ_ORIGINAL).
 *
 * Queries go in once per head and step; attention outputs come back. Orthonormal, so that inner
 * products and lengths are kept to rounding.
 *
 * src      [n_rows][D] float32, any values
 * dst      [n_rows][D] float32 out; may be src itself, other overlaps are TQ_E_OVERLAP
 *
 * TQ_E_NULL, TQ_E_FORMAT, TQ_E_HEAD_DIM, TQ_E_DOMAIN, TQ_E_OVERFLOW, TQ_E_OVERLAP. On failure nothing is
 * written. */
TQ_API tq_status tq_rotate(const tq_codec *codec, tq_domain to, size_t n_rows, const float *src,
                           float *dst);

/** Replaces each value by the nearest centroid of the format's codebook.
 *
 * What encoding and decoding do to a rotated vector of unit variance, without packing it.
 *
 * src      [n] float32, finite
 * dst      [n] float32 out; may be src itself, other overlaps are TQ_E_OVERLAP
 *
 * TQ_E_NULL, TQ_E_FORMAT, TQ_E_OVERFLOW, TQ_E_OVERLAP, TQ_E_NOT_FINITE with the index. On failure nothing
 * is written.
 */
TQ_API tq_status tq_requantize(tq_format format, const float *src, float *dst, size_t n);

/** Packs codes, one a byte, into rows of the format's arrangement; tq_unpack() is the inverse.
 *
 * Codes are the format's stored codes: for v1 the centroid's rank, for v2 its magnitude's rank with the
 * sign as top bit (docs/format.md).
 *
 * codec    format and D
 * n_rows   rows, contiguous on both sides
 * codes    [n_rows][D] one code a byte; a code of 2^B or more is TQ_E_CODE with its index
 * packed   [n_rows][code_bytes] out; must not overlap codes
 *
 * TQ_E_NULL, TQ_E_FORMAT, TQ_E_HEAD_DIM, TQ_E_OVERFLOW, TQ_E_OVERLAP, TQ_E_CODE. On failure nothing is
 * written. */
TQ_API tq_status tq_pack(const tq_codec *codec, size_t n_rows, const uint8_t *codes, uint8_t *packed);

/** Unpacks rows into one stored code a byte. Arguments and errors as for tq_pack(), less TQ_E_CODE:
 * unused high bits of tq5-v1 and tq6-v1 are masked off. */
TQ_API tq_status tq_unpack(const tq_codec *codec, size_t n_rows, const uint8_t *packed, uint8_t *codes);

/** The format's codebook in ascending order.
 *
 * centroids   [2^B] float32 out; NULL: not wanted
 * boundaries  [2^B - 1] float32 out, between neighbouring centroids; NULL: not wanted
 *
 * v1: a value is coded as the number of boundaries strictly below it. v2: the same for the magnitude
 * and the boundaries above zero; the sign bit is kept apart.
 * TQ_E_FORMAT. */
TQ_API tq_status tq_codebook(tq_format format, float *centroids, float *boundaries);

/** Bits of a code of the format; 0 for a value that is none. */
TQ_API unsigned tq_format_bits(tq_format format);

#ifdef __cplusplus
}
#endif
#endif
