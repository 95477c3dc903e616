/* SPDX-License-Identifier: MIT
 * Sixteen bytes in one NEON register (AArch64); how they are multiplied, products_*.h say. */
#ifndef TQ_KERNELS_VEC_BYTES_H
#define TQ_KERNELS_VEC_BYTES_H

#include <arm_neon.h>
#include <string.h>

#include "kernels/vec/common.h"

typedef uint8x16_t vb;
typedef int32x4_t vi;

#define V_BYTES      16
#define V_SUMS       16
#define V_DIGIT_ROWS 4

V_INLINE vb v_bytes_at(const void *p) {
    return vld1q_u8((const uint8_t *)p);
}
V_INLINE vb v_bytes_some(const uint8_t *p, size_t n) {
    uint8_t whole[16] = {0};
    memcpy(whole, p, n < 16 ? n : 16);
    return vld1q_u8(whole);
}
V_INLINE vb v_bytes_half(const uint8_t *p) {
    return vcombine_u8(vld1_u8(p), vdup_n_u8(0));
}
V_INLINE vb v_bytes_quarter(const uint8_t *p) {
    return vreinterpretq_u8_u32(vdupq_n_u32((uint32_t)v_bytes_load(p, 4)));
}
V_INLINE void v_bytes_store_all(uint8_t *p, vb x) {
    vst1q_u8(p, x);
}
V_INLINE vb v_bytes_or(vb x, vb y) {
    return vorrq_u8(x, y);
}
V_INLINE vb v_bytes_and(vb x, unsigned mask) {
    return vandq_u8(x, vdupq_n_u8((uint8_t)mask));
}
V_INLINE vb v_nibbles_high(vb x) {
    return vshrq_n_u8(x, 4);
}

/* Fields of two bits: byte i becomes field 2 i + odd, moved up by `at`; other bits are anything. */
V_INLINE vb v_crumbs(vb x, const unsigned odd, const unsigned at) {
    const int8x16_t down =
        vreinterpretq_s8_u16(vdupq_n_u16(odd ? 0xfafe : 0xfc00)); /* 0 and 4, or 2 and 6 */
    const vb both = vandq_u8(vshlq_u8(vzip1q_u8(x, x), down), vdupq_n_u8(3));
    return at == 0 ? both : vshlq_n_u8(both, 4);
}

/* Fields of one bit: byte i becomes `value` where field 2 i + odd is set, else 0. */
V_INLINE vb v_flags(vb x, const unsigned odd, unsigned value) {
    const uint8x16_t quarter = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
    const vb bits = vreinterpretq_u8_u32(vdupq_n_u32(odd ? 0x80200802 : 0x40100401));
    return v_bytes_and(vtstq_u8(vqtbl1q_u8(x, quarter), bits), value);
}

/* Digits by code, in tables of 64. Of codes of 8 bits the magnitude is looked up, and the sign then set.
 */
typedef struct v_digit_table {
    uint8x16x4_t r[2];
} v_digit_table;

V_INLINE v_digit_table v_digit_table_load(const signed char *t, const unsigned bits, int bias) {
    v_digit_table table;
    const unsigned n = bits <= 4 ? 1 : bits >= 7 ? 8 : 1u << (bits - 4);
    for (unsigned i = 0; i < n; i++)
        table.r[i / 4].val[i % 4] =
            vaddq_u8(vld1q_u8((const uint8_t *)t + 16 * i), vdupq_n_u8((uint8_t)bias));
    return table;
}
/* Codes have no other bits than theirs. */
V_INLINE vb v_digits(const v_digit_table *t, const unsigned bits, vb code) {
    if (bits <= 4) return vqtbl1q_u8(t->r[0].val[0], code);
    if (bits == 5) {
        const uint8x16x2_t two = {{t->r[0].val[0], t->r[0].val[1]}};
        return vqtbl2q_u8(two, code);
    }
    const vb size = bits == 8 ? v_bytes_and(code, 127) : code;
    vb x = vqtbl4q_u8(t->r[0], size);
    if (bits >= 7) x = vqtbx4q_u8(x, t->r[1], vsubq_u8(size, vdupq_n_u8(64)));
    if (bits < 8) return x;
    const vb negative = vreinterpretq_u8_s8(vshrq_n_s8(vreinterpretq_s8_u8(code), 7));
    return vsubq_u8(veorq_u8(x, negative), negative);
}

V_INLINE vi v_sums_of(int32_t x) {
    return vdupq_n_s32(x);
}
/* acc + the products of words, in pairs. */
V_INLINE vi v_dot_words(vi acc, vb x, vb y) {
    const int16x8_t a = vreinterpretq_s16_u8(x), b = vreinterpretq_s16_u8(y);
    return vmlal_high_s16(vmlal_s16(acc, vget_low_s16(a), vget_low_s16(b)), a, b);
}
/* Low bytes and high ones to words: of the first eight, and of the others. */
V_INLINE vb v_words_first(vb low, vb high) {
    return vzip1q_u8(low, high);
}
V_INLINE vb v_words_last(vb low, vb high) {
    return vzip2q_u8(low, high);
}
V_INLINE vi v_sums_join(vi high, vi low) {
    return vaddq_s32(vshlq_n_s32(high, 7), low);
}

/* Part j of four vectors with their bytes side by side: four of byte 0, four of byte 1 .. */
V_INLINE vb v_interleaved(const vb x[4], const unsigned j) {
    const uint16x8_t a = vreinterpretq_u16_u8(j < 2 ? vzip1q_u8(x[0], x[1]) : vzip2q_u8(x[0], x[1]));
    const uint16x8_t b = vreinterpretq_u16_u8(j < 2 ? vzip1q_u8(x[2], x[3]) : vzip2q_u8(x[2], x[3]));
    return vreinterpretq_u8_u16(j % 2 == 0 ? vzip1q_u16(a, b) : vzip2q_u16(a, b));
}
V_INLINE void v_sums_add(vi sums, int32_t *to) {
    vst1q_s32(to, vaddq_s32(vld1q_s32(to), sums));
}

/* out[i] = (the sum of x[i]'s lanes - bias[i]) * factors[i]; n of them mean something. */
V_INLINE void v_sums_scaled(const vi x[V_SUMS], const unsigned n, const int32_t *bias,
                            const float *factors, float *out) {
    V_FOR (i, (n + 3) / 4) {
        const vi *y = x + 4 * i;
        const int32x4_t sums = vpaddq_s32(vpaddq_s32(y[0], y[1]), vpaddq_s32(y[2], y[3]));
        const float32x4_t rest = vcvtq_f32_s32(vsubq_s32(sums, vld1q_s32(bias + 4 * i)));
        vst1q_f32(out + 4 * i, vmulq_f32(rest, vld1q_f32(factors + 4 * i)));
    }
}

V_INLINE vf v_load_ints(const int32_t *p) {
    vf r;
    V_QUADS(r, vcvtq_f32_s32(vld1q_s32(p + 4 * i)));
}
/* Four by four floats within every 16 bytes transposed, and four by four such sixteens. */
V_INLINE void v_transpose(vf x[4]) {
    V_FOR (i, 4) {
        const float32x4x2_t a = vtrnq_f32(x[0].q[i], x[1].q[i]), b = vtrnq_f32(x[2].q[i], x[3].q[i]);
        x[0].q[i] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
        x[1].q[i] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
        x[2].q[i] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
        x[3].q[i] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
    }
}
V_INLINE void v_transpose_quads(vf x[4]) {
    const vf a = x[0], b = x[1], c = x[2], d = x[3];
    V_FOR (i, 4)
        x[i] = (vf){{a.q[i], b.q[i], c.q[i], d.q[i]}};
}

#endif
