/* SPDX-License-Identifier: MIT
 * Thirty-two bytes in one AVX2 register; how they are multiplied, products_*.h say. */
#ifndef TQ_KERNELS_VEC_BYTES_H
#define TQ_KERNELS_VEC_BYTES_H

#include <immintrin.h>
#include <string.h>

#include "kernels/vec/common.h"

typedef __m256i vb;
typedef __m256i vi;

#define V_BYTES      32
#define V_SUMS       8
#define V_DIGIT_ROWS 4

V_INLINE vb v_bytes_at(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}
V_INLINE vb v_bytes_half(const uint8_t *p) {
    return _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
}
V_INLINE vb v_bytes_quarter(const uint8_t *p) {
    return _mm256_castsi128_si256(_mm_loadl_epi64((const __m128i *)(const void *)p));
}
V_INLINE vb v_bytes_some(const uint8_t *p, size_t n) {
    uint8_t whole[32] = {0};
    memcpy(whole, p, n < 32 ? n : 32);
    return v_bytes_at(whole);
}
V_INLINE void v_bytes_store_all(uint8_t *p, vb x) {
    _mm256_storeu_si256((__m256i *)(void *)p, x);
}
V_INLINE vb v_bytes_or(vb x, vb y) {
    return _mm256_or_si256(x, y);
}
V_INLINE vb v_bytes_and(vb x, unsigned mask) {
    return _mm256_and_si256(x, _mm256_set1_epi8((char)mask));
}
V_INLINE vb v_nibbles_high(vb x) {
    return v_bytes_and(_mm256_srli_epi16(x, 4), 15);
}

/* Fields of two bits: byte i becomes field 2 i + odd, moved up by `at`; other bits are anything. */
V_INLINE vb v_crumbs(vb x, const unsigned odd, const unsigned at) {
    const __m256i apart = _mm256_permute4x64_epi64(x, 0x50);
    const __m256i twice = _mm256_unpacklo_epi8(apart, apart); /* field 4 i + 2 is in the odd bytes */
    const __m256i even = odd ? _mm256_srli_epi16(twice, 2) : twice, far = _mm256_srli_epi16(even, 4);
    const __m256i both = _mm256_or_si256(_mm256_and_si256(even, _mm256_set1_epi16(0x0003)),
                                         _mm256_and_si256(far, _mm256_set1_epi16(0x0300)));
    return at == 0 ? both : _mm256_slli_epi16(both, 4);
}

/* Fields of one bit: byte i becomes `value` where field 2 i + odd is set, else 0. */
V_INLINE vb v_flags(vb x, const unsigned odd, unsigned value) {
    const __m256i quarter = _mm256_setr_epi32(0, 0x01010101, 0x02020202, 0x03030303, 0x04040404,
                                              0x05050505, 0x06060606, 0x07070707);
    const __m256i four = _mm256_shuffle_epi8(_mm256_broadcastq_epi64(_mm256_castsi256_si128(x)), quarter);
    const __m256i bits = _mm256_set1_epi32(odd ? (int)0x80200802 : 0x40100401);
    return v_bytes_and(_mm256_cmpeq_epi8(_mm256_and_si256(four, bits), bits), value);
}

/* Digits by code, in tables of sixteen. Of codes of 8 bits the magnitude is looked up, and the sign then
 * set. */
typedef struct v_digit_table {
    __m256i r[8];
} v_digit_table;

V_INLINE unsigned v_digit_tables(const unsigned bits) {
    return bits <= 4 ? 1 : bits == 8 ? 8 : 1u << (bits - 4);
}
V_INLINE v_digit_table v_digit_table_load(const signed char *t, const unsigned bits, int bias) {
    v_digit_table table;
    for (unsigned i = 0; i < v_digit_tables(bits); i++)
        table.r[i] = _mm256_add_epi8(
            _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(t + 16 * i))),
            _mm256_set1_epi8((char)bias));
    return table;
}
/* Codes have no other bits than theirs. What is not in a table has its top bit set, and gives 0. */
V_INLINE vb v_digits(const v_digit_table *t, const unsigned bits, vb code) {
    if (bits <= 4) return _mm256_shuffle_epi8(t->r[0], code);
    const vb size = bits == 8 ? v_bytes_and(code, 127) : code, far = _mm256_set1_epi8(0x70);
    vb x = _mm256_shuffle_epi8(t->r[0], _mm256_adds_epu8(size, far));
    V_UNROLL
    for (unsigned i = 1; i < v_digit_tables(bits); i++) {
        const vb here = _mm256_xor_si256(size, _mm256_set1_epi8((char)(16 * i)));
        x = _mm256_or_si256(x, _mm256_shuffle_epi8(t->r[i], _mm256_adds_epu8(here, far)));
    }
    /* the sign of a byte that is never 0 */
    return bits == 8 ? _mm256_sign_epi8(x, _mm256_or_si256(code, _mm256_set1_epi8(1))) : x;
}

V_INLINE vi v_sums_of(int32_t x) {
    return _mm256_set1_epi32(x);
}
/* Low bytes and high ones to words: of the first eight of every 16 bytes, and of the others. */
V_INLINE vb v_words_first(vb low, vb high) {
    return _mm256_unpacklo_epi8(low, high);
}
V_INLINE vb v_words_last(vb low, vb high) {
    return _mm256_unpackhi_epi8(low, high);
}
V_INLINE vi v_sums_join(vi high, vi low) {
    return _mm256_add_epi32(_mm256_slli_epi32(high, 7), low);
}

/* Part j of four vectors with their bytes side by side: four of byte 0, four of byte 1 .. within 16
 * bytes. */
V_INLINE vb v_interleaved(const vb x[4], const unsigned j) {
    const vb a = j < 2 ? _mm256_unpacklo_epi8(x[0], x[1]) : _mm256_unpackhi_epi8(x[0], x[1]);
    const vb b = j < 2 ? _mm256_unpacklo_epi8(x[2], x[3]) : _mm256_unpackhi_epi8(x[2], x[3]);
    return j % 2 == 0 ? _mm256_unpacklo_epi16(a, b) : _mm256_unpackhi_epi16(a, b);
}
V_INLINE void v_sums_add(vi sums, int32_t *to) {
    __m256i *at = (__m256i *)(void *)to;
    _mm256_storeu_si256(at, _mm256_add_epi32(_mm256_loadu_si256(at), sums));
}

/* The sums of four vectors' halves. */
V_INLINE vi v_sum_halves(const vi x[4]) {
    return _mm256_hadd_epi32(_mm256_hadd_epi32(x[0], x[1]), _mm256_hadd_epi32(x[2], x[3]));
}
/* out[i] = (the sum of x[i]'s lanes - bias[i]) * factors[i]; n of them mean something. */
V_INLINE void v_sums_scaled(const vi x[V_SUMS], const unsigned n, const int32_t *bias,
                            const float *factors, float *out) {
    const vi a = v_sum_halves(x), b = n > 4 ? v_sum_halves(x + 4) : a;
    const __m256i sums =
        _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
    const __m256i rest = _mm256_sub_epi32(sums, v_bytes_at(bias));
    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(rest), _mm256_loadu_ps(factors)));
}

V_INLINE vf v_load_ints(const int32_t *p) {
    return (vf){_mm256_cvtepi32_ps(v_bytes_at(p)), _mm256_cvtepi32_ps(v_bytes_at(p + 8))};
}
/* Four by four floats within every 16 bytes transposed, and four by four such sixteens. */
V_INLINE void v_transpose_half(__m256 *x, __m256 *y, __m256 *z, __m256 *w) {
    const __m256 a = _mm256_unpacklo_ps(*x, *y), b = _mm256_unpackhi_ps(*x, *y);
    const __m256 c = _mm256_unpacklo_ps(*z, *w), d = _mm256_unpackhi_ps(*z, *w);
    *x = _mm256_shuffle_ps(a, c, 0x44);
    *y = _mm256_shuffle_ps(a, c, 0xEE);
    *z = _mm256_shuffle_ps(b, d, 0x44);
    *w = _mm256_shuffle_ps(b, d, 0xEE);
}
V_INLINE void v_transpose(vf x[4]) {
    v_transpose_half(&x[0].a, &x[1].a, &x[2].a, &x[3].a);
    v_transpose_half(&x[0].b, &x[1].b, &x[2].b, &x[3].b);
}
V_INLINE void v_transpose_quads(vf x[4]) {
    const vf a = x[0], b = x[1], c = x[2], d = x[3];
    x[0] = (vf){_mm256_permute2f128_ps(a.a, b.a, 0x20), _mm256_permute2f128_ps(c.a, d.a, 0x20)};
    x[1] = (vf){_mm256_permute2f128_ps(a.a, b.a, 0x31), _mm256_permute2f128_ps(c.a, d.a, 0x31)};
    x[2] = (vf){_mm256_permute2f128_ps(a.b, b.b, 0x20), _mm256_permute2f128_ps(c.b, d.b, 0x20)};
    x[3] = (vf){_mm256_permute2f128_ps(a.b, b.b, 0x31), _mm256_permute2f128_ps(c.b, d.b, 0x31)};
}

#endif
