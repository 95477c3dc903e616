/* SPDX-License-Identifier: MIT
 * Sixty-four bytes in one AVX-512 register; how they are multiplied, products_vnni.h says. */
#ifndef TQ_KERNELS_VEC_BYTES_H
#define TQ_KERNELS_VEC_BYTES_H

#include <immintrin.h>
#include <string.h>

#include "kernels/vec/common.h"

typedef __m512i vb;
typedef __m512i vi;

#define V_BYTES      64
#define V_SUMS       16
#define V_DIGIT_ROWS 8

V_INLINE vb v_bytes_at(const void *p) {
    return _mm512_loadu_si512(p);
}
V_INLINE vb v_bytes_half(const uint8_t *p) {
    return _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
V_INLINE vb v_bytes_quarter(const uint8_t *p) {
    return _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)p));
}
V_INLINE vb v_bytes_some(const uint8_t *p, size_t n) {
    return _mm512_maskz_loadu_epi8(n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1, p);
}
V_INLINE void v_bytes_store_all(uint8_t *p, vb x) {
    _mm512_storeu_si512(p, x);
}
V_INLINE vb v_bytes_or(vb x, vb y) {
    return _mm512_or_si512(x, y);
}
V_INLINE vb v_bytes_and(vb x, unsigned mask) {
    return _mm512_and_si512(x, _mm512_set1_epi8((char)mask));
}
V_INLINE vb v_nibbles_high(vb x) {
    return v_bytes_and(_mm512_srli_epi16(x, 4), 15);
}

/* Fields of two bits: byte i becomes field 2 i + odd, moved up by `at`; other bits are anything. */
V_INLINE vb v_crumbs(vb x, const unsigned odd, const unsigned at) {
    /* four bytes, sixteen fields, to eight bytes, each of which takes eight bits from its field on */
    const __m512i pairs = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(x));
    const __m512i from =
        odd ? _mm512_set1_epi64(0x1e1a16120e0a0602) : _mm512_set1_epi64(0x1c1814100c080400);
    return _mm512_multishift_epi64_epi8(_mm512_sub_epi8(from, _mm512_set1_epi8((char)at)), pairs);
}

/* Fields of one bit: byte i becomes `value` where field 2 i + odd is set, else 0. */
V_INLINE vb v_flags(vb x, const unsigned odd, unsigned value) {
    const __m512i quarter = _mm512_setr_epi32(
        0, 0x01010101, 0x02020202, 0x03030303, 0x04040404, 0x05050505, 0x06060606, 0x07070707, 0x08080808,
        0x09090909, 0x0a0a0a0a, 0x0b0b0b0b, 0x0c0c0c0c, 0x0d0d0d0d, 0x0e0e0e0e, 0x0f0f0f0f);
    const __m512i four = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm512_castsi512_si128(x)), quarter);
    const __m512i bits = _mm512_set1_epi32(odd ? (int)0x80200802 : 0x40100401);
    return _mm512_maskz_set1_epi8(_mm512_test_epi8_mask(four, bits), (char)value);
}

/* Digits by code. Of codes of 8 bits the magnitude is looked up, and the sign then set. */
typedef struct v_digit_table {
    __m512i r[8];
} v_digit_table;

/* bias is added to digits, modulo 256: to 128 minus x from 128 plus x it is a negation too. */
V_INLINE v_digit_table v_digit_table_load(const signed char *t, const unsigned bits, int bias) {
    v_digit_table table;
    const __m512i add = _mm512_set1_epi8((char)bias);
    if (bits <= 4)
        table.r[0] = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)t));
    else if (bits == 5)
        table.r[0] = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)t));
    else
        for (unsigned i = 0; i < (bits == 6 ? 1u : 2u); i++)
            table.r[i] = _mm512_loadu_si512(t + 64 * i);
    for (unsigned i = 0; i < (bits <= 6 ? 1u : 2u); i++)
        table.r[i] = _mm512_add_epi8(table.r[i], add);
    return table;
}
/* Codes have no other bits than theirs. */
V_INLINE vb v_digits(const v_digit_table *t, const unsigned bits, vb code) {
    if (bits <= 4) return _mm512_shuffle_epi8(t->r[0], code);
    vb size = bits == 8 ? v_bytes_and(code, 127) : code;
    vb x = bits <= 6 ? _mm512_permutexvar_epi8(size, t->r[0])
                     : _mm512_permutex2var_epi8(t->r[0], size, t->r[1]);
    return bits == 8 ? _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(code), _mm512_setzero_si512(), x) : x;
}

V_INLINE vi v_sums_of(int32_t x) {
    return _mm512_set1_epi32(x);
}
V_INLINE vi v_dot_bytes(vi acc, vb x, vb y) {
    return _mm512_dpbusd_epi32(acc, x, y);
}
V_INLINE vi v_dot_words(vi acc, vb x, vb y) {
    return _mm512_dpwssd_epi32(acc, x, y);
}
/* Low bytes and high ones to words: of the first eight of every 16 bytes, and of the others. */
V_INLINE vb v_words_first(vb low, vb high) {
    return _mm512_unpacklo_epi8(low, high);
}
V_INLINE vb v_words_last(vb low, vb high) {
    return _mm512_unpackhi_epi8(low, high);
}
V_INLINE vi v_sums_join(vi high, vi low) {
    return _mm512_add_epi32(_mm512_slli_epi32(high, 7), low);
}

/* Part j of four vectors with their bytes side by side: four of byte 0, four of byte 1 .. within 16
 * bytes. */
V_INLINE vb v_interleaved(const vb x[4], const unsigned j) {
    const vb a = j < 2 ? _mm512_unpacklo_epi8(x[0], x[1]) : _mm512_unpackhi_epi8(x[0], x[1]);
    const vb b = j < 2 ? _mm512_unpacklo_epi8(x[2], x[3]) : _mm512_unpackhi_epi8(x[2], x[3]);
    return j % 2 == 0 ? _mm512_unpacklo_epi16(a, b) : _mm512_unpackhi_epi16(a, b);
}
/* Sixteen vectors of sixteen fours of bytes: four i of vector j becomes four j of vector i. */
V_INLINE void v_fours_transpose(vb x[16]) {
    vb t[16], u[16];
    V_FOR (i, 8) {
        t[2 * i] = _mm512_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
    }
    V_FOR (i, 4) /* within sixteen bytes: four vectors' fours 4 lane + 0 to 3 */
        V_FOR (j, 2) {
            u[4 * i + 2 * j] = _mm512_unpacklo_epi64(t[4 * i + j], t[4 * i + j + 2]);
            u[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(t[4 * i + j], t[4 * i + j + 2]);
        }
    V_FOR (i, 4) {
        const vb a = _mm512_shuffle_i32x4(u[i], u[4 + i], 0x44),
                 b = _mm512_shuffle_i32x4(u[i], u[4 + i], 0xEE);
        const vb c = _mm512_shuffle_i32x4(u[8 + i], u[12 + i], 0x44),
                 d = _mm512_shuffle_i32x4(u[8 + i], u[12 + i], 0xEE);
        x[i] = _mm512_shuffle_i32x4(a, c, 0x88);
        x[4 + i] = _mm512_shuffle_i32x4(a, c, 0xDD);
        x[8 + i] = _mm512_shuffle_i32x4(b, d, 0x88);
        x[12 + i] = _mm512_shuffle_i32x4(b, d, 0xDD);
    }
}
V_INLINE void v_sums_add(vi sums, int32_t *to) {
    _mm512_storeu_si512(to, _mm512_add_epi32(_mm512_loadu_si512(to), sums));
}

/* Within every 16 bytes the sums of four vectors' quads. */
V_INLINE vi v_sum_quads(const vi x[4]) {
    const __m512i a =
        _mm512_add_epi32(_mm512_unpacklo_epi32(x[0], x[1]), _mm512_unpackhi_epi32(x[0], x[1]));
    const __m512i b =
        _mm512_add_epi32(_mm512_unpacklo_epi32(x[2], x[3]), _mm512_unpackhi_epi32(x[2], x[3]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}
/* The sums of neighbouring sixteens: two of x, then two of y. */
V_INLINE vi v_sum_neighbours(vi x, vi y) {
    return _mm512_add_epi32(_mm512_shuffle_i32x4(x, y, 0x88), _mm512_shuffle_i32x4(x, y, 0xdd));
}
/* out[i] = (the sum of x[i]'s lanes - bias[i]) * factors[i]; n of them mean something. */
V_INLINE void v_sums_scaled(const vi x[V_SUMS], const unsigned n, const int32_t *bias,
                            const float *factors, float *out) {
    const vi near = v_sum_neighbours(v_sum_quads(x), v_sum_quads(x + 4));
    const vi far = n > 8 ? v_sum_neighbours(v_sum_quads(x + 8), v_sum_quads(x + 12)) : near;
    const vi sums = _mm512_sub_epi32(v_sum_neighbours(near, far), _mm512_loadu_si512(bias));
    _mm512_storeu_ps(out, _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(factors)));
}

V_INLINE vf v_load_ints(const int32_t *p) {
    return _mm512_cvtepi32_ps(_mm512_loadu_si512(p));
}
/* Four by four floats within every 16 bytes transposed, and four by four such sixteens. */
V_INLINE void v_transpose(vf x[4]) {
    const __m512 a = _mm512_unpacklo_ps(x[0], x[1]), b = _mm512_unpackhi_ps(x[0], x[1]);
    const __m512 c = _mm512_unpacklo_ps(x[2], x[3]), d = _mm512_unpackhi_ps(x[2], x[3]);
    x[0] = _mm512_shuffle_ps(a, c, 0x44);
    x[1] = _mm512_shuffle_ps(a, c, 0xEE);
    x[2] = _mm512_shuffle_ps(b, d, 0x44);
    x[3] = _mm512_shuffle_ps(b, d, 0xEE);
}
V_INLINE void v_transpose_quads(vf x[4]) {
    v_octets_order(x);
}

#endif
