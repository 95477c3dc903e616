/* SPDX-License-Identifier: MIT
 * Sixteen lanes in two AVX2 registers: lanes 0 to 7, and 8 to 15. */
#ifndef TQ_KERNELS_VEC_H
#define TQ_KERNELS_VEC_H

#include <immintrin.h>
#include <stdint.h>

#include "kernels/vec/common.h"

#define V_RADIX 4 /* vectors that a butterfly may hold in registers */

typedef struct vf {
    __m256 a, b;
} vf;
typedef struct vu {
    __m256i a, b;
} vu;

#define V_BOTH2(f, x, y)                                                                                 \
    { f((x).a, (y).a), f((x).b, (y).b) }

V_INLINE vf v_load(const float *p) {
    return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
V_INLINE void v_store(float *p, vf x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
V_INLINE void v_stream(float *p, vf x) {
    _mm256_stream_ps(p, x.a);
    _mm256_stream_ps(p + 8, x.b);
}
/* Streaming stores are not ordered with others: whoever is told next must find them done. */
V_INLINE void v_stream_end(void) {
    _mm_sfence();
}
V_INLINE vf v_set(float x) {
    return (vf){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
V_INLINE vf v_add(vf x, vf y) {
    return (vf)V_BOTH2(_mm256_add_ps, x, y);
}
V_INLINE vf v_sub(vf x, vf y) {
    return (vf)V_BOTH2(_mm256_sub_ps, x, y);
}
V_INLINE vf v_mul(vf x, vf y) {
    return (vf)V_BOTH2(_mm256_mul_ps, x, y);
}
V_INLINE vu v_bits(vf x) {
    return (vu){_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)};
}
V_INLINE vf v_floats(vu x) {
    return (vf){_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)};
}
V_INLINE vu v_setu(uint32_t x) {
    return (vu){_mm256_set1_epi32((int)x), _mm256_set1_epi32((int)x)};
}
V_INLINE vu v_addu(vu x, vu y) {
    return (vu)V_BOTH2(_mm256_add_epi32, x, y);
}
V_INLINE vu v_subu(vu x, vu y) {
    return (vu)V_BOTH2(_mm256_sub_epi32, x, y);
}
V_INLINE vu v_and(vu x, vu y) {
    return (vu)V_BOTH2(_mm256_and_si256, x, y);
}
V_INLINE vu v_or(vu x, vu y) {
    return (vu)V_BOTH2(_mm256_or_si256, x, y);
}
V_INLINE vu v_xor(vu x, vu y) {
    return (vu)V_BOTH2(_mm256_xor_si256, x, y);
}
V_INLINE vu v_shl(vu x, unsigned n) {
    const __m128i count = _mm_cvtsi32_si128((int)n);
    return (vu){_mm256_sll_epi32(x.a, count), _mm256_sll_epi32(x.b, count)};
}
V_INLINE vu v_shr(vu x, unsigned n) {
    const __m128i count = _mm_cvtsi32_si128((int)n);
    return (vu){_mm256_srl_epi32(x.a, count), _mm256_srl_epi32(x.b, count)};
}
V_INLINE vf v_abs(vf x) {
    return v_floats(v_and(v_bits(x), v_setu(INT32_MAX)));
}

/* Low `n` bits of x, the others of y. */
V_INLINE vu v_select_low(unsigned n, vu x, vu y) {
    const vu low = v_setu((1u << n) - 1);
    return v_or(v_and(low, x), (vu)V_BOTH2(_mm256_andnot_si256, low, y));
}

/* Bit `lane` of word, moved to the sign bit of lane `lane`; the bits below are anything. */
V_INLINE vu v_spread(unsigned word) {
    const __m256i w = _mm256_set1_epi32((int)word);
    return (vu){_mm256_sllv_epi32(w, _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24)),
                _mm256_sllv_epi32(w, _mm256_setr_epi32(23, 22, 21, 20, 19, 18, 17, 16))};
}

/* Flips the sign of the lanes whose bit is set. */
V_INLINE vf v_flip(vf x, unsigned bits) {
    return v_floats(v_xor(v_bits(x), v_and(v_spread(V_LANE_MASK(bits)), v_setu(1u << 31))));
}

/* Signs of a block's vectors, one bit each: the lowest is at hand. */
V_INLINE vu v_sign_plane(vu bits) {
    return bits;
}
V_INLINE vu v_sign_next(vu signs, unsigned n) {
    return v_shr(signs, n);
}
V_INLINE vu v_sign_bit(vu signs, unsigned n) {
    return v_shl(signs, n);
}
V_INLINE vf v_signed(vf x, vu signs) {
    return v_floats(v_or(v_bits(x), v_shl(signs, 31)));
}

V_INLINE __m256 v_negate_odd(__m256 x, int h) {
    const float s = -0.0f;
    const __m256 mask = h == 1   ? _mm256_setr_ps(0, s, 0, s, 0, s, 0, s)
                        : h == 2 ? _mm256_setr_ps(0, 0, s, s, 0, 0, s, s)
                                 : _mm256_setr_ps(0, 0, 0, 0, s, s, s, s);
    return _mm256_xor_ps(x, mask);
}
V_INLINE __m256 v_swap(__m256 x, int h) {
    return h == 1   ? _mm256_permute_ps(x, 0xB1)
           : h == 2 ? _mm256_permute_ps(x, 0x4E)
                    : _mm256_permute2f128_ps(x, x, 0x01);
}

/* Butterflies between lanes h apart: (a + t b, t a - b), then (a + b, a - b) for h = 2, 4, 8. */
V_INLINE vf v_tilt(vf x, vf t) {
    return (vf){_mm256_add_ps(_mm256_mul_ps(v_swap(x.a, 1), t.a), v_negate_odd(x.a, 1)),
                _mm256_add_ps(_mm256_mul_ps(v_swap(x.b, 1), t.b), v_negate_odd(x.b, 1))};
}
V_INLINE vf v_hadamard2(vf x) {
    return (vf){_mm256_add_ps(v_swap(x.a, 2), v_negate_odd(x.a, 2)),
                _mm256_add_ps(v_swap(x.b, 2), v_negate_odd(x.b, 2))};
}
V_INLINE vf v_hadamard4(vf x) {
    return (vf){_mm256_add_ps(v_swap(x.a, 4), v_negate_odd(x.a, 4)),
                _mm256_add_ps(v_swap(x.b, 4), v_negate_odd(x.b, 4))};
}
V_INLINE vf v_hadamard8(vf x) {
    return (vf){_mm256_add_ps(x.a, x.b), _mm256_sub_ps(x.a, x.b)};
}

/* Lanes folded by halves. */
V_INLINE float v_fold(vf x) {
    const __m256 a = _mm256_add_ps(x.a, x.b);
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

/* The sign bit as 0 or 1. */
V_INLINE vu v_sign(vf x) {
    return (vu){_mm256_srli_epi32(_mm256_castps_si256(x.a), 31),
                _mm256_srli_epi32(_mm256_castps_si256(x.b), 31)};
}

/* x shifted down by n bits, the low n bits of y on top. */
V_INLINE vu v_shift_in(vu x, vu y, const unsigned n) {
    return v_or(v_shr(x, n), v_shl(y, 32 - n));
}

/* 2 x + the sign bit of d. */
V_INLINE vu v_push_sign(vu x, vf d) {
    return v_addu(v_addu(x, x), v_sign(d));
}

V_INLINE unsigned v_signs(vu x) {
    return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(x.a)) |
           (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(x.b)) << 8;
}

/* Lanes whose magnitude is not at most limit. */
V_INLINE unsigned v_beyond(vf x, vf limit) {
    const vf m = v_abs(x);
    return v_signs(
        v_bits((vf){_mm256_cmp_ps(m.a, limit.a, _CMP_NLE_UQ), _mm256_cmp_ps(m.b, limit.b, _CMP_NLE_UQ)}));
}

/* A table of 2^log2 floats, 128 at most, and its entry per lane. Up to 16 entries come from registers,
 * whatever the bits above; larger ones are gathered, and the bits above masked off. */
typedef struct v_table {
    __m256 r[2];
    const float *memory;
} v_table;

#define V_LOOKUP_LOG2 2 /* codes up to this are looked up whole: sooner than magnitude and sign */

V_INLINE v_table v_table_load(const float *t, const unsigned log2) {
    v_table table = {.memory = t};
    if (log2 < 3) {
        const __m256i n = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        table.r[0] = _mm256_i32gather_ps(t, _mm256_and_si256(n, _mm256_set1_epi32((1 << log2) - 1)), 4);
    } else {
        table.r[0] = _mm256_loadu_ps(t);
        table.r[1] = log2 > 3 ? _mm256_loadu_ps(t + 8) : table.r[0];
    }
    return table;
}
V_INLINE __m256 v_lookup_half(const v_table *t, const unsigned log2, __m256i index) {
    if (log2 == 0) return t->r[0];
    if (log2 <= 3) return _mm256_permutevar8x32_ps(t->r[0], index);
    if (log2 == 4)
        return _mm256_blendv_ps(_mm256_permutevar8x32_ps(t->r[0], index),
                                _mm256_permutevar8x32_ps(t->r[1], index),
                                _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
    return _mm256_i32gather_ps(t->memory, _mm256_and_si256(index, _mm256_set1_epi32((1 << log2) - 1)), 4);
}
V_INLINE vf v_lookup(const v_table *t, const unsigned log2, vu index) {
    return (vf){v_lookup_half(t, log2, index.a), v_lookup_half(t, log2, index.b)};
}

/* Tables of 32 and 64 floats as four tables of their bytes, lowest first, in sixteens. On Zen 1 attention
 * on codes of 6 and 7 bits takes 1.6 and 1.2 times as long where floats are gathered; of 8 bits, 0.8
 * times. */
#define V_FOURTHS 5 /* log2 of the smaller one */
typedef struct v_fourths {
    __m128i bytes[4][4];
} v_fourths;

V_INLINE v_fourths v_fourths_load(const float *t, const unsigned log2) {
    const __m128i apart = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    v_fourths table;
    for (unsigned i = 0; i < 1u << log2 >> 4; i++) {
        __m128i x[4];
        V_FOR (k, 4)
            x[k] = _mm_shuffle_epi8(_mm_castps_si128(_mm_loadu_ps(t + 16 * i + 4 * k)), apart);
        const __m128i low01 = _mm_unpacklo_epi32(x[0], x[1]), low23 = _mm_unpacklo_epi32(x[2], x[3]);
        const __m128i high01 = _mm_unpackhi_epi32(x[0], x[1]), high23 = _mm_unpackhi_epi32(x[2], x[3]);
        table.bytes[0][i] = _mm_unpacklo_epi64(low01, low23);
        table.bytes[1][i] = _mm_unpackhi_epi64(low01, low23);
        table.bytes[2][i] = _mm_unpacklo_epi64(high01, high23);
        table.bytes[3][i] = _mm_unpackhi_epi64(high01, high23);
    }
    return table;
}
/* Lanes' lowest log2 bits as bytes. */
V_INLINE __m128i v_low_bytes(const unsigned log2, vu index) {
    const __m256i mask = _mm256_set1_epi32((1 << log2) - 1);
    const __m256i a = _mm256_and_si256(index.a, mask), b = _mm256_and_si256(index.b, mask);
    return _mm_packus_epi16(_mm_packus_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1)),
                            _mm_packus_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1)));
}
V_INLINE vf v_fourths_look_up(const v_fourths *t, const unsigned log2, vu index) {
    const __m128i code = v_low_bytes(log2, index), others = _mm_set1_epi8(0x70);
    __m128i byte[4];
    V_FOR (k, 4)
        byte[k] = _mm_setzero_si128();
    V_FOR (i, 4) { /* an index into other sixteens becomes 0x80 or more, and its byte 0 */
        if (16 * i >= 1u << log2) continue;
        const __m128i own = _mm_adds_epu8(_mm_xor_si128(code, _mm_set1_epi8((char)(16 * i))), others);
        V_FOR (k, 4)
            byte[k] = _mm_or_si128(byte[k], _mm_shuffle_epi8(t->bytes[k][i], own));
    }
    const __m128i low01 = _mm_unpacklo_epi8(byte[0], byte[1]),
                  low23 = _mm_unpacklo_epi8(byte[2], byte[3]);
    const __m128i high01 = _mm_unpackhi_epi8(byte[0], byte[1]),
                  high23 = _mm_unpackhi_epi8(byte[2], byte[3]);
    return (vf){_mm256_castsi256_ps(_mm256_setr_m128i(_mm_unpacklo_epi16(low01, low23),
                                                      _mm_unpackhi_epi16(low01, low23))),
                _mm256_castsi256_ps(_mm256_setr_m128i(_mm_unpacklo_epi16(high01, high23),
                                                      _mm_unpackhi_epi16(high01, high23)))};
}

/* Sixteen unsigned integers of `width` bits side by side (1, 2, 4, 8, 16 or 32), to lanes and back. */
V_INLINE __m128i v_load16(const uint8_t *p) {
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}
/* All lanes' bits to every lane, each shifts its own down. */
V_INLINE vu v_lanes_spread(uint64_t all, const int width) {
    const __m256i n =
        _mm256_setr_epi32(0, width, 2 * width, 3 * width, 4 * width, 5 * width, 6 * width, 7 * width);
    return (vu){_mm256_srlv_epi32(_mm256_set1_epi32((int)(uint32_t)all), n),
                _mm256_srlv_epi32(_mm256_set1_epi32((int)(uint32_t)(all >> 8 * width)), n)};
}
V_INLINE vu v_lanes_load(const uint8_t *p, unsigned width) {
    switch (width) {
    case 32:
        return (vu){_mm256_loadu_si256((const __m256i *)(const void *)p),
                    _mm256_loadu_si256((const __m256i *)(const void *)(p + 32))};
    case 16:
        return (vu){_mm256_cvtepu16_epi32(v_load16(p)), _mm256_cvtepu16_epi32(v_load16(p + 16))};
    case 8: {
        const __m128i x = v_load16(p);
        return (vu){_mm256_cvtepu8_epi32(x), _mm256_cvtepu8_epi32(_mm_srli_si128(x, 8))};
    }
    case 4:
        return v_lanes_spread(v_bytes_load(p, 8), 4);
    case 2:
        return v_lanes_spread(v_bytes_load(p, 4), 2);
    default:
        return v_lanes_spread(v_bytes_load(p, 2), 1);
    }
}
/* Pairs of bytes to one: the second moves up by `width` bits and joins the first. Without pext, which is
 * slow on some processors: encoding at D = 80 took 2.3 to 3.5 times as long with it. */
V_INLINE __m128i v_squeeze(__m128i octets, const int width) {
    const __m128i times = _mm_set1_epi16((int16_t)(1 | 1 << (8 + width)));
    return _mm_packus_epi16(_mm_maddubs_epi16(octets, times), _mm_setzero_si128());
}
V_INLINE void v_lanes_store(uint8_t *p, unsigned width, vu x) {
    if (width == 32) {
        _mm256_storeu_si256((__m256i *)(void *)p, x.a);
        _mm256_storeu_si256((__m256i *)(void *)(p + 32), x.b);
        return;
    }
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(x.a, x.b), 0xD8);
    if (width == 16) {
        _mm256_storeu_si256((__m256i *)(void *)p, words);
        return;
    }
    const __m128i octets =
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    if (width == 8)
        _mm_storeu_si128((__m128i *)(void *)p, octets);
    else if (width == 4)
        v_bytes_store(p, 8, (uint64_t)_mm_cvtsi128_si64(v_squeeze(octets, 4)));
    else if (width == 2)
        v_bytes_store(p, 4, (uint32_t)_mm_cvtsi128_si32(v_squeeze(v_squeeze(octets, 2), 4)));
    else
        v_bytes_store(p, 2, (unsigned)_mm_movemask_epi8(_mm_slli_epi16(octets, 7)));
}

/* For attention. */
#define V_BLOCK 4 /* accumulators that fit in registers beside their operands */

V_INLINE vf v_fma(vf x, vf y, vf z) {
    return (vf){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
V_INLINE vf v_round(vf x) {
    return (vf){_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
V_INLINE vf v_div(vf x, vf y) {
    return (vf)V_BOTH2(_mm256_div_ps, x, y);
}
/* y where either is NaN */
V_INLINE vf v_max(vf x, vf y) {
    return (vf)V_BOTH2(_mm256_max_ps, x, y);
}
V_INLINE vf v_min(vf x, vf y) {
    return (vf)V_BOTH2(_mm256_min_ps, x, y);
}
V_INLINE float v_most(vf x) {
    const __m256 a = _mm256_max_ps(x.a, x.b);
    const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}
/* x times 2^n, n whole and -126 at least */
V_INLINE __m256 v_scale2_half(__m256 x, __m256 n) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), exponent));
}
V_INLINE vf v_scale2(vf x, vf n) {
    return (vf){v_scale2_half(x.a, n.a), v_scale2_half(x.b, n.b)};
}
/* y, but 0 where x is below the limit */
V_INLINE vf v_zero_below(vf y, vf x, float limit) {
    const __m256 l = _mm256_set1_ps(limit);
    return (vf){_mm256_and_ps(y.a, _mm256_cmp_ps(x.a, l, _CMP_GE_OQ)),
                _mm256_and_ps(y.b, _mm256_cmp_ps(x.b, l, _CMP_GE_OQ))};
}
V_INLINE vf v_load_half(const uint16_t *p) {
    return (vf){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)),
                _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 8)))};
}
V_INLINE void v_store_half(uint16_t *p, vf x) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(void *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
/* Sixteen numbers of 16 bits as the upper halves of lanes, and back. */
V_INLINE vu v_load_upper(const uint16_t *p) {
    const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return (vu){_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(x)), 16),
                _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm256_extracti128_si256(x, 1)), 16)};
}
V_INLINE void v_store_upper(uint16_t *p, vu x) {
    const __m256i words = _mm256_packus_epi32(_mm256_srli_epi32(x.a, 16), _mm256_srli_epi32(x.b, 16));
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_permute4x64_epi64(words, 0xD8));
}
/* In v_fold()'s order, pairs and fours side by side. */
V_INLINE __m128 v_fold_quarter(vf x) {
    const __m256 sum = _mm256_add_ps(x.a, x.b);
    return _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1));
}
V_INLINE __m128 v_fold_pair(vf x, vf y) {
    const __m128 p = v_fold_quarter(x), q = v_fold_quarter(y);
    return _mm_add_ps(_mm_unpacklo_ps(p, q), _mm_unpackhi_ps(p, q));
}
V_INLINE void v_fold_block(const vf x[V_BLOCK], float sums[V_BLOCK]) {
    const __m128 p = v_fold_pair(x[0], x[1]), q = v_fold_pair(x[2], x[3]);
    _mm_storeu_ps(sums, _mm_add_ps(_mm_movelh_ps(p, q), _mm_movehl_ps(q, p)));
}

#endif
