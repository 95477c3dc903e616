/* SPDX-License-Identifier: MIT
 * Sixteen lanes in one AVX-512 register (f, bw, dq, vl). */
#ifndef TQ_KERNELS_VEC_H
#define TQ_KERNELS_VEC_H

#include <immintrin.h>
#include <stdint.h>

#include "kernels/vec/common.h"

#define V_RADIX 16 /* vectors that a butterfly may hold in registers */

typedef __m512 vf;
typedef __m512i vu;

V_INLINE vf v_load(const float *p) {
    return _mm512_loadu_ps(p);
}
V_INLINE void v_store(float *p, vf x) {
    _mm512_storeu_ps(p, x);
}
V_INLINE void v_stream(float *p, vf x) {
    _mm512_stream_ps(p, x);
}
/* Streaming stores are not ordered with others: whoever is told next must find them done. */
V_INLINE void v_stream_end(void) {
    _mm_sfence();
}
V_INLINE vf v_set(float x) {
    return _mm512_set1_ps(x);
}
V_INLINE vf v_add(vf a, vf b) {
    return _mm512_add_ps(a, b);
}
V_INLINE vf v_sub(vf a, vf b) {
    return _mm512_sub_ps(a, b);
}
V_INLINE vf v_mul(vf a, vf b) {
    return _mm512_mul_ps(a, b);
}

/* Flips the sign of the lanes whose bit is set. */
V_INLINE vf v_flip(vf x, unsigned bits) {
    return _mm512_mask_xor_ps(x, (__mmask16)V_LANE_MASK(bits), x, _mm512_set1_ps(-0.0f));
}

/* Butterflies between lanes h apart: (a + t b, t a - b), then (a + b, a - b) for h = 2, 4, 8. */
V_INLINE vf v_tilt(vf x, vf t) {
    const __m512 q = _mm512_mul_ps(_mm512_permute_ps(x, 0xB1), t);
    return _mm512_mask_sub_ps(_mm512_add_ps(x, q), 0xAAAA, q, x);
}
V_INLINE vf v_hadamard2(vf x) {
    const __m512 p = _mm512_permute_ps(x, 0x4E);
    return _mm512_mask_sub_ps(_mm512_add_ps(x, p), 0xCCCC, p, x);
}
V_INLINE vf v_hadamard4(vf x) {
    const __m512 p = _mm512_shuffle_f32x4(x, x, 0xB1);
    return _mm512_mask_sub_ps(_mm512_add_ps(x, p), 0xF0F0, p, x);
}
V_INLINE vf v_hadamard8(vf x) {
    const __m512 p = _mm512_shuffle_f32x4(x, x, 0x4E);
    return _mm512_mask_sub_ps(_mm512_add_ps(x, p), 0xFF00, p, x);
}

/* All four stages for a pair of vectors. Shuffles that bring the two operands of a butterfly into
 * different registers cost one a vector and stage, and no sign has to be flipped; the order of the lanes
 * wanders and is put right at the end. */
#define V_LANE_STAGES2
V_INLINE void v_lane_stages2(vf *x, vf *y, vf t) {
    /* registers by lane bit 0, then 1, 2, 3; what was the register becomes a lane bit */
    __m512 a = _mm512_shuffle_ps(*x, *y, 0x88), b = _mm512_shuffle_ps(*x, *y, 0xDD);
    __m512 s = _mm512_add_ps(a, _mm512_mul_ps(t, b)), d = _mm512_sub_ps(_mm512_mul_ps(t, a), b);
    a = _mm512_shuffle_ps(s, d, 0x88), b = _mm512_shuffle_ps(s, d, 0xDD);
    s = _mm512_add_ps(a, b), d = _mm512_sub_ps(a, b);
    a = _mm512_shuffle_f32x4(s, d, 0x88), b = _mm512_shuffle_f32x4(s, d, 0xDD);
    s = _mm512_add_ps(a, b), d = _mm512_sub_ps(a, b);
    a = _mm512_shuffle_f32x4(s, d, 0x88), b = _mm512_shuffle_f32x4(s, d, 0xDD);
    s = _mm512_add_ps(a, b), d = _mm512_sub_ps(a, b);
    /* lane bits are now (x or y, 0, 1, 2) and bit 3 is the register */
    const __m512i of_x = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *x = _mm512_permutex2var_ps(s, of_x, d);
    *y = _mm512_permutex2var_ps(s, _mm512_add_epi32(of_x, _mm512_set1_epi32(1)), d);
}

/* Lanes folded by halves. */
V_INLINE float v_fold(vf x) {
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

V_INLINE vu v_bits(vf x) {
    return _mm512_castps_si512(x);
}
V_INLINE vf v_floats(vu x) {
    return _mm512_castsi512_ps(x);
}
V_INLINE vu v_setu(uint32_t x) {
    return _mm512_set1_epi32((int)x);
}
V_INLINE vu v_addu(vu a, vu b) {
    return _mm512_add_epi32(a, b);
}
V_INLINE vu v_subu(vu a, vu b) {
    return _mm512_sub_epi32(a, b);
}
V_INLINE vu v_and(vu a, vu b) {
    return _mm512_and_si512(a, b);
}
V_INLINE vu v_or(vu a, vu b) {
    return _mm512_or_si512(a, b);
}
V_INLINE vu v_xor(vu a, vu b) {
    return _mm512_xor_si512(a, b);
}
V_INLINE vu v_shl(vu x, unsigned n) {
    return _mm512_sllv_epi32(x, _mm512_set1_epi32((int)n));
}
V_INLINE vu v_shr(vu x, unsigned n) {
    return _mm512_srlv_epi32(x, _mm512_set1_epi32((int)n));
}

V_INLINE vf v_abs(vf x) {
    return _mm512_abs_ps(x);
}

/* Low `n` bits of a, the others of b. */
V_INLINE vu v_select_low(unsigned n, vu a, vu b) {
    return _mm512_ternarylogic_epi32(v_setu((1u << n) - 1), a, b, 0xCA);
}

/* Signs of a block's vectors, one bit each: the highest is at hand, and goes by turning. Two operations a
 * vector, of which one is a shift: those have a port of their own to wait for. */
V_INLINE vu v_sign_next(vu signs, unsigned n) {
    return _mm512_rorv_epi32(signs, _mm512_set1_epi32((int)n));
}
V_INLINE vu v_sign_plane(vu bits) {
    return v_sign_next(bits, 1);
}
V_INLINE vu v_sign_bit(vu signs, unsigned n) {
    return v_shr(signs, 31 - n);
}
V_INLINE vf v_signed(vf x, vu signs) {
    return v_floats(
        _mm512_ternarylogic_epi32(v_bits(x), signs, v_setu(1u << 31), 0x78)); /* a ^ (b & c) */
}

/* The sign bit as 0 or 1. */
V_INLINE vu v_sign(vf x) {
    return _mm512_srli_epi32(v_bits(x), 31);
}

/* x shifted down by n bits, the low n bits of y on top. */
V_INLINE vu v_shift_in(vu x, vu y, const unsigned n) {
#ifdef __AVX512VBMI2__
    return n == 4 ? _mm512_shrdi_epi32(x, y, 4) : _mm512_shrdi_epi32(x, y, 2);
#else
    return _mm512_or_si512(v_shr(x, n), v_shl(y, 32 - n));
#endif
}

/* 2 x + the sign bit of d. */
V_INLINE vu v_push_sign(vu x, vf d) {
#ifdef __AVX512VBMI2__
    return _mm512_shldi_epi32(x, v_bits(d), 1);
#else
    return _mm512_add_epi32(_mm512_add_epi32(x, x), _mm512_srli_epi32(v_bits(d), 31));
#endif
}

/* Lanes in which bit n is set. */
V_INLINE unsigned v_test(vu x, unsigned n) {
    return _mm512_test_epi32_mask(x, v_setu(1u << n));
}

/* Lanes whose magnitude is not at most limit. */
V_INLINE unsigned v_beyond(vf x, vf limit) {
    return _mm512_cmp_ps_mask(_mm512_abs_ps(x), limit, _CMP_NLE_UQ);
}

/* A table of 2^log2 floats, 128 at most, and its entry per lane. Index bits above are ignored. */
typedef struct v_table {
    __m512 r[8];
} v_table;

#define V_LOOKUP_LOG2 4 /* codes up to this are looked up whole, by one instruction */

V_INLINE v_table v_table_load(const float *t, const unsigned log2) {
    v_table table;
    if (log2 < 4) { /* repeated, so that a lookup's four bits of index are right whatever is above */
        const __m512i n = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        table.r[0] =
            _mm512_permutexvar_ps(v_and(n, v_setu((1u << log2) - 1)),
                                  _mm512_maskz_loadu_ps((__mmask16)((1u << (1u << log2)) - 1), t));
    } else
        for (unsigned i = 0; i < 1u << (log2 - 4); i++)
            table.r[i] = _mm512_loadu_ps(t + 16 * i);
    return table;
}
V_INLINE vf v_lookup32(const __m512 *r, vu index) {
    return _mm512_permutex2var_ps(r[0], index, r[1]);
}
V_INLINE vf v_lookup64(const __m512 *r, vu index) {
    return _mm512_mask_mov_ps(v_lookup32(r, index), (__mmask16)v_test(index, 5),
                              v_lookup32(r + 2, index));
}
V_INLINE vf v_lookup(const v_table *t, const unsigned log2, vu index) {
    if (log2 == 0) return t->r[0];
    if (log2 <= 4) return _mm512_permutexvar_ps(index, t->r[0]);
    if (log2 == 5) return v_lookup32(t->r, index);
    if (log2 == 6) return v_lookup64(t->r, index);
    return _mm512_mask_mov_ps(v_lookup64(t->r, index), (__mmask16)v_test(index, 6),
                              v_lookup64(t->r + 4, index));
}

/* Sixteen unsigned integers of `width` bits side by side (1, 2, 4, 8, 16 or 32), to lanes and back. */
#define V_EVENS _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)

V_INLINE vu v_lanes_load(const uint8_t *p, unsigned width) {
    switch (width) {
    case 32:
        return _mm512_loadu_si512(p);
    case 16:
        return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
    case 8:
        return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    case 4: { /* byte i holds lanes 2i and 2i + 1: to both, the odd one shifted */
        const __m512i x = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(const void *)p));
        return _mm512_or_si512(x, _mm512_slli_epi64(x, 28));
    }
    case 2: { /* all lanes' bits to every lane, each shifts its own down */
        const __m512i x = _mm512_set1_epi32((int)(uint32_t)v_bytes_load(p, 4));
        return _mm512_srlv_epi32(x, V_EVENS);
    }
    default:
        return _mm512_maskz_set1_epi32((__mmask16)v_bytes_load(p, 2), 1);
    }
}
V_INLINE void v_lanes_store(uint8_t *p, unsigned width, vu x) {
    switch (width) {
    case 32:
        _mm512_storeu_si512(p, x);
        break;
    case 16:
        _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(x));
        break;
    case 8:
        _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(x));
        break;
    case 4:
        x = _mm512_or_si512(x, _mm512_srli_epi64(x, 28));
        _mm_storel_epi64((__m128i *)(void *)p, _mm512_cvtepi64_epi8(x));
        break;
    case 2:
        v_bytes_store(p, 4, (uint32_t)_mm512_reduce_or_epi32(_mm512_sllv_epi32(x, V_EVENS)));
        break;
    default:
        v_bytes_store(p, 2, v_test(x, 0));
        break;
    }
}

/* For attention. */
#define V_BLOCK 16 /* accumulators that fit in registers beside their operands */

V_INLINE vf v_fma(vf a, vf b, vf c) {
    return _mm512_fmadd_ps(a, b, c);
}
V_INLINE vf v_round(vf x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
V_INLINE vf v_div(vf a, vf b) {
    return _mm512_div_ps(a, b);
}
/* b where either is NaN */
V_INLINE vf v_max(vf a, vf b) {
    return _mm512_max_ps(a, b);
}
V_INLINE vf v_min(vf a, vf b) {
    return _mm512_min_ps(a, b);
}
V_INLINE float v_most(vf x) {
    return _mm512_reduce_max_ps(x);
}
/* x times 2^n, n whole */
V_INLINE vf v_scale2(vf x, vf n) {
    return _mm512_scalef_ps(x, n);
}
/* y, but 0 where x is below the limit */
V_INLINE vf v_zero_below(vf y, vf x, float limit) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_GE_OQ), y);
}
V_INLINE vf v_load_half(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
V_INLINE void v_store_half(uint16_t *p, vf x) {
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
/* Sixteen numbers of 16 bits as the upper halves of lanes, and back. */
V_INLINE vu v_load_upper(const uint16_t *p) {
    const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16);
}
V_INLINE void v_store_upper(uint16_t *p, vu x) {
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(x, 16)));
}

/* Sums of the lanes of each of 16 vectors, in v_fold()'s order: halves of pairs are added until a vector
 * holds a number of each. */
V_INLINE vf v_fold_halves(vf x, vf y) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xEE));
}
V_INLINE vf v_fold_quarters(vf x, vf y) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xDD));
}
V_INLINE void v_fold_block(const vf x[V_BLOCK], float sums[V_BLOCK]) {
    vf quad[4];
    V_FOR (p, 4)
        quad[p] = v_fold_quarters(v_fold_halves(x[p], x[p + 4]), v_fold_halves(x[p + 8], x[p + 12]));
    const vf u =
        _mm512_add_ps(_mm512_unpacklo_ps(quad[0], quad[1]), _mm512_unpackhi_ps(quad[0], quad[1]));
    const vf w =
        _mm512_add_ps(_mm512_unpacklo_ps(quad[2], quad[3]), _mm512_unpackhi_ps(quad[2], quad[3]));
    _mm512_storeu_ps(sums, _mm512_add_ps(_mm512_shuffle_ps(u, w, 0x44), _mm512_shuffle_ps(u, w, 0xEE)));
}

#ifdef __AVX512VBMI__
#define V_OCTETS 64 /* codes of 8 bits that one call below decodes */

/* 128 floats as four tables of their bytes, lowest first. */
typedef struct v_octet_table {
    __m512i low[4], high[4];
} v_octet_table;

V_INLINE v_octet_table v_octet_table_load(const uint8_t octets[4 * 128]) {
    v_octet_table table;
    for (unsigned b = 0; b < 4; b++) {
        table.low[b] = _mm512_loadu_si512(octets + 128 * b);
        table.high[b] = _mm512_loadu_si512(octets + 128 * b + 64);
    }
    return table;
}

/* 64 codes to 64 floats, in octet order: in out[k], four from each quarter of the codes, from the 4k-th
 * on. Bits 0 to 6 choose the magnitude, bit 7 is the sign. Every byte of every float is looked up at
 * once, and interleaving makes floats of them. ranked: codes are ranks, mirrored below the middle. */
V_INLINE void v_octets_look_up(const v_octet_table *t, const int ranked, __m512i x, vf out[4]) {
    if (ranked) {
        x = _mm512_xor_si512(x, _mm512_set1_epi8(INT8_MIN));
        x = _mm512_mask_mov_epi8(x, _mm512_movepi8_mask(x), _mm512_xor_si512(x, _mm512_set1_epi8(127)));
    }
    __m512i octet[4];
    for (unsigned b = 0; b < 4; b++)
        octet[b] = _mm512_permutex2var_epi8(t->low[b], x, t->high[b]);
    octet[3] = _mm512_ternarylogic_epi32(octet[3], x, _mm512_set1_epi8(INT8_MIN), 0x78); /* a ^ (b & c) */
    const __m512i low0 = _mm512_unpacklo_epi8(octet[0], octet[1]);
    const __m512i low1 = _mm512_unpackhi_epi8(octet[0], octet[1]);
    const __m512i high0 = _mm512_unpacklo_epi8(octet[2], octet[3]);
    const __m512i high1 = _mm512_unpackhi_epi8(octet[2], octet[3]);
    out[0] = v_floats(_mm512_unpacklo_epi16(low0, high0));
    out[1] = v_floats(_mm512_unpackhi_epi16(low0, high0));
    out[2] = v_floats(_mm512_unpacklo_epi16(low1, high1));
    out[3] = v_floats(_mm512_unpackhi_epi16(low1, high1));
}

/* 64 floats to octet order, and back: quarters of vectors transposed. */
V_INLINE void v_octets_order(vf x[4]) {
    const vf a = _mm512_shuffle_f32x4(x[0], x[1], 0x44), b = _mm512_shuffle_f32x4(x[2], x[3], 0x44);
    const vf c = _mm512_shuffle_f32x4(x[0], x[1], 0xEE), d = _mm512_shuffle_f32x4(x[2], x[3], 0xEE);
    x[0] = _mm512_shuffle_f32x4(a, b, 0x88);
    x[1] = _mm512_shuffle_f32x4(a, b, 0xDD);
    x[2] = _mm512_shuffle_f32x4(c, d, 0x88);
    x[3] = _mm512_shuffle_f32x4(c, d, 0xDD);
}

V_INLINE __m512i v_octets_load(const uint8_t *codes) {
    return _mm512_loadu_si512(codes);
}
/* Codes such that their floats come out in their own order: groups of four transposed. */
V_INLINE __m512i v_octets_load_transposed(const uint8_t *codes) {
    const __m512i transposed = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(transposed, _mm512_loadu_si512(codes));
}
#endif

#endif
