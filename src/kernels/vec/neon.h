/* SPDX-License-Identifier: MIT
 * Sixteen lanes in four NEON registers (AArch64). */
#ifndef TQ_KERNELS_VEC_H
#define TQ_KERNELS_VEC_H

#include <arm_neon.h>
#include <stdint.h>

#include "kernels/vec/common.h"

#define V_RADIX 4 /* vectors that a butterfly may hold in registers */

typedef struct vf {
    float32x4_t q[4];
} vf;
typedef struct vu {
    uint32x4_t q[4];
} vu;

#define V_QUADS(out, expression)                                                                         \
    do {                                                                                                 \
        V_FOR (i, 4)                                                                                     \
            (out).q[i] = (expression);                                                                   \
        return out;                                                                                      \
    } while (0)

V_INLINE vf v_load(const float *p) {
    vf r;
    V_QUADS(r, vld1q_f32(p + 4 * i));
}
V_INLINE void v_store(float *p, vf x) {
    V_FOR (i, 4)
        vst1q_f32(p + 4 * i, x.q[i]);
}
/* AArch64 has no streaming store for one register; the plain one stands in. */
V_INLINE void v_stream(float *p, vf x) {
    v_store(p, x);
}
V_INLINE void v_stream_end(void) {
}
V_INLINE vf v_set(float x) {
    vf r;
    V_QUADS(r, vdupq_n_f32(x));
}
V_INLINE vf v_add(vf x, vf y) {
    vf r;
    V_QUADS(r, vaddq_f32(x.q[i], y.q[i]));
}
V_INLINE vf v_sub(vf x, vf y) {
    vf r;
    V_QUADS(r, vsubq_f32(x.q[i], y.q[i]));
}
V_INLINE vf v_mul(vf x, vf y) {
    vf r;
    V_QUADS(r, vmulq_f32(x.q[i], y.q[i]));
}
V_INLINE vf v_abs(vf x) {
    vf r;
    V_QUADS(r, vabsq_f32(x.q[i]));
}
V_INLINE vu v_bits(vf x) {
    vu r;
    V_QUADS(r, vreinterpretq_u32_f32(x.q[i]));
}
V_INLINE vf v_floats(vu x) {
    vf r;
    V_QUADS(r, vreinterpretq_f32_u32(x.q[i]));
}
V_INLINE vu v_setu(uint32_t x) {
    vu r;
    V_QUADS(r, vdupq_n_u32(x));
}
V_INLINE vu v_addu(vu x, vu y) {
    vu r;
    V_QUADS(r, vaddq_u32(x.q[i], y.q[i]));
}
V_INLINE vu v_subu(vu x, vu y) {
    vu r;
    V_QUADS(r, vsubq_u32(x.q[i], y.q[i]));
}
V_INLINE vu v_and(vu x, vu y) {
    vu r;
    V_QUADS(r, vandq_u32(x.q[i], y.q[i]));
}
V_INLINE vu v_or(vu x, vu y) {
    vu r;
    V_QUADS(r, vorrq_u32(x.q[i], y.q[i]));
}
V_INLINE vu v_xor(vu x, vu y) {
    vu r;
    V_QUADS(r, veorq_u32(x.q[i], y.q[i]));
}
V_INLINE vu v_shl(vu x, unsigned n) {
    vu r;
    V_QUADS(r, vshlq_u32(x.q[i], vdupq_n_s32((int)n)));
}
V_INLINE vu v_shr(vu x, unsigned n) {
    vu r;
    V_QUADS(r, vshlq_u32(x.q[i], vdupq_n_s32(-(int)n)));
}

/* Low `n` bits of x, the others of y. */
V_INLINE vu v_select_low(unsigned n, vu x, vu y) {
    vu r;
    V_QUADS(r, vbslq_u32(vdupq_n_u32((1u << n) - 1), x.q[i], y.q[i]));
}

/* 0, 1, 2, 3 times k, from 4 k i on. */
V_INLINE int32x4_t v_steps(int k, unsigned i) {
    const int32x4_t n = {0, 1, 2, 3};
    return vmulq_n_s32(vaddq_s32(n, vdupq_n_s32(4 * (int)i)), k);
}

/* Bit `lane` of word as 0 or 1. */
V_INLINE vu v_lanes_flags(unsigned word) {
    vu r;
    V_QUADS(r, vandq_u32(vshlq_u32(vdupq_n_u32(word), v_steps(-1, i)), vdupq_n_u32(1)));
}

/* Flips the sign of the lanes whose bit is set. */
V_INLINE vf v_flip(vf x, unsigned bits) {
    return v_floats(v_xor(v_bits(x), v_shl(v_lanes_flags(V_LANE_MASK(bits)), 31)));
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
    vf r;
    V_QUADS(r, vreinterpretq_f32_u32(vsliq_n_u32(vreinterpretq_u32_f32(x.q[i]), signs.q[i], 31)));
}

/* Butterflies between lanes h apart: (a + t b, t a - b), then (a + b, a - b) for h = 2, 4, 8. */
V_INLINE vf v_tilt(vf x, vf t) {
    const uint32x4_t odd = {0, 1u << 31, 0, 1u << 31};
    vf r;
    V_QUADS(r, vaddq_f32(vmulq_f32(vrev64q_f32(x.q[i]), t.q[i]),
                         vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(x.q[i]), odd))));
}
V_INLINE vf v_hadamard2(vf x) {
    const uint32x4_t high = {0, 0, 1u << 31, 1u << 31};
    vf r;
    V_QUADS(r, vaddq_f32(vextq_f32(x.q[i], x.q[i], 2),
                         vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(x.q[i]), high))));
}
V_INLINE vf v_hadamard4(vf x) {
    return (vf){{vaddq_f32(x.q[0], x.q[1]), vsubq_f32(x.q[0], x.q[1]), vaddq_f32(x.q[2], x.q[3]),
                 vsubq_f32(x.q[2], x.q[3])}};
}
V_INLINE vf v_hadamard8(vf x) {
    return (vf){{vaddq_f32(x.q[0], x.q[2]), vaddq_f32(x.q[1], x.q[3]), vsubq_f32(x.q[0], x.q[2]),
                 vsubq_f32(x.q[1], x.q[3])}};
}

/* Lanes folded by halves. */
V_INLINE float v_fold(vf x) {
    const vf eight = v_hadamard8(x);
    const float32x4_t four = vaddq_f32(eight.q[0], eight.q[1]);
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

/* The sign bit as 0 or 1. */
V_INLINE vu v_sign(vf x) {
    vu r;
    V_QUADS(r, vshrq_n_u32(vreinterpretq_u32_f32(x.q[i]), 31));
}

/* x shifted down by n bits, the low n bits of y on top. */
V_INLINE vu v_shift_in(vu x, vu y, const unsigned n) {
    return v_or(v_shr(x, n), v_shl(y, 32 - n));
}

/* 2 x + the sign bit of d. */
V_INLINE vu v_push_sign(vu x, vf d) {
    return v_addu(v_addu(x, x), v_sign(d));
}

/* Lanes in which bit n is set. */
V_INLINE unsigned v_test(vu x, unsigned n) {
    unsigned bits = 0;
    V_FOR (i, 4) {
        const uint32x4_t one = vandq_u32(vshlq_u32(x.q[i], vdupq_n_s32(-(int)n)), vdupq_n_u32(1));
        bits |= vaddvq_u32(vshlq_u32(one, v_steps(1, i)));
    }
    return bits;
}

/* Lanes whose magnitude is not at most limit. */
V_INLINE unsigned v_beyond(vf x, vf limit) {
    vu beyond;
    for (unsigned i = 0; i < 4; i++)
        beyond.q[i] = vmvnq_u32(vcleq_f32(vabsq_f32(x.q[i]), limit.q[i]));
    return v_test(beyond, 0);
}

/* A table of 2^log2 floats, 128 at most, and its entry per lane; bits above are masked off. Up to 16
 * entries are looked up as bytes in registers, larger tables are read lane by lane. */
typedef struct v_table {
    uint8x16x4_t r;
    const float *memory;
} v_table;

#define V_LOOKUP_LOG2 4 /* codes up to this are looked up whole, without memory access */

V_INLINE v_table v_table_load(const float *t, const unsigned log2) {
    v_table table = {.memory = t};
    float repeated[16];
    if (log2 <= 4) {
        for (unsigned i = 0; i < 16; i++)
            repeated[i] = t[i & ((1u << log2) - 1)];
        V_FOR (i, 4)
            table.r.val[i] = vreinterpretq_u8_f32(vld1q_f32(repeated + 4 * i));
    }
    return table;
}
V_INLINE float32x4_t v_lookup_quad(const v_table *t, const unsigned log2, uint32x4_t index) {
    if (log2 <= 4) {
        const uint32x4_t octets =
            vmlaq_n_u32(vdupq_n_u32(0x03020100u), vandq_u32(index, vdupq_n_u32(15)), 0x04040404u);
        return vreinterpretq_f32_u8(vqtbl4q_u8(t->r, vreinterpretq_u8_u32(octets)));
    }
    const uint32x4_t at = vandq_u32(index, vdupq_n_u32((1u << log2) - 1));
    float32x4_t x = vld1q_dup_f32(t->memory + vgetq_lane_u32(at, 0));
    x = vld1q_lane_f32(t->memory + vgetq_lane_u32(at, 1), x, 1);
    x = vld1q_lane_f32(t->memory + vgetq_lane_u32(at, 2), x, 2);
    return vld1q_lane_f32(t->memory + vgetq_lane_u32(at, 3), x, 3);
}
V_INLINE vf v_lookup(const v_table *t, const unsigned log2, vu index) {
    vf r;
    V_QUADS(r, v_lookup_quad(t, log2, index.q[i]));
}

/* Sixteen unsigned integers of `width` bits side by side (1, 2, 4, 8, 16 or 32), to lanes and back. */
V_INLINE vu v_from_words(uint16x8_t low, uint16x8_t high) {
    return (vu){{vmovl_u16(vget_low_u16(low)), vmovl_u16(vget_high_u16(low)),
                 vmovl_u16(vget_low_u16(high)), vmovl_u16(vget_high_u16(high))}};
}
V_INLINE vu v_from_octets(uint8x16_t x) {
    return v_from_words(vmovl_u8(vget_low_u8(x)), vmovl_u8(vget_high_u8(x)));
}
V_INLINE vu v_lanes_load(const uint8_t *p, unsigned width) {
    vu r;
    switch (width) {
    case 32:
        V_QUADS(r, vreinterpretq_u32_u8(vld1q_u8(p + 16 * i)));
    case 16:
        return v_from_words(vreinterpretq_u16_u8(vld1q_u8(p)), vreinterpretq_u16_u8(vld1q_u8(p + 16)));
    case 8:
        return v_from_octets(vld1q_u8(p));
    case 4: {
        const uint8x8_t x = vld1_u8(p);
        return v_from_octets(vcombine_u8(vzip1_u8(x, vshr_n_u8(x, 4)), vzip2_u8(x, vshr_n_u8(x, 4))));
    }
    case 2: {
        const uint32x4_t x = vdupq_n_u32((uint32_t)v_bytes_load(p, 4));
        V_QUADS(r, vshlq_u32(x, v_steps(-2, i)));
    }
    default:
        return v_lanes_flags((unsigned)v_bytes_load(p, 2));
    }
}
V_INLINE uint16x8_t v_to_words(vu x, unsigned i) {
    return vcombine_u16(vmovn_u32(x.q[i]), vmovn_u32(x.q[i + 1]));
}
V_INLINE void v_lanes_store(uint8_t *p, unsigned width, vu x) {
    const uint8x8_t low = vmovn_u16(v_to_words(x, 0)), high = vmovn_u16(v_to_words(x, 2));
    switch (width) {
    case 32:
        V_FOR (i, 4)
            vst1q_u8(p + 16 * i, vreinterpretq_u8_u32(x.q[i]));
        break;
    case 16:
        vst1q_u8(p, vreinterpretq_u8_u16(v_to_words(x, 0)));
        vst1q_u8(p + 16, vreinterpretq_u8_u16(v_to_words(x, 2)));
        break;
    case 8:
        vst1q_u8(p, vcombine_u8(low, high));
        break;
    case 4:
        vst1_u8(p, vorr_u8(vuzp1_u8(low, high), vshl_n_u8(vuzp2_u8(low, high), 4)));
        break;
    case 2: {
        uint32_t all = 0;
        for (unsigned i = 0; i < 4; i++)
            all |= vaddvq_u32(vshlq_u32(x.q[i], v_steps(2, i)));
        v_bytes_store(p, 4, all);
        break;
    }
    default:
        v_bytes_store(p, 2, v_test(x, 0));
    }
}

/* For attention. */
#define V_BLOCK 4 /* accumulators that fit in registers beside their operands */

V_INLINE vf v_fma(vf x, vf y, vf z) {
    vf r;
    V_QUADS(r, vfmaq_f32(z.q[i], x.q[i], y.q[i]));
}
V_INLINE vf v_round(vf x) {
    vf r;
    V_QUADS(r, vrndnq_f32(x.q[i]));
}
V_INLINE vf v_div(vf x, vf y) {
    vf r;
    V_QUADS(r, vdivq_f32(x.q[i], y.q[i]));
}
/* y where either is NaN */
V_INLINE vf v_max(vf x, vf y) {
    vf r;
    V_QUADS(r, vbslq_f32(vcgtq_f32(x.q[i], y.q[i]), x.q[i], y.q[i]));
}
V_INLINE vf v_min(vf x, vf y) {
    vf r;
    V_QUADS(r, vbslq_f32(vcltq_f32(x.q[i], y.q[i]), x.q[i], y.q[i]));
}
V_INLINE float v_most(vf x) {
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.q[0], x.q[1]), vmaxq_f32(x.q[2], x.q[3])));
}
/* x times 2^n, n whole and -126 at least */
V_INLINE vf v_scale2(vf x, vf n) {
    vf r;
    V_QUADS(r, vreinterpretq_f32_s32(
                   vaddq_s32(vreinterpretq_s32_f32(x.q[i]), vshlq_n_s32(vcvtq_s32_f32(n.q[i]), 23))));
}
/* y, but 0 where x is below the limit */
V_INLINE vf v_zero_below(vf y, vf x, float limit) {
    vf r;
    V_QUADS(r, vreinterpretq_f32_u32(
                   vandq_u32(vreinterpretq_u32_f32(y.q[i]), vcgeq_f32(x.q[i], vdupq_n_f32(limit)))));
}
V_INLINE vf v_load_half(const uint16_t *p) {
    vf r;
    V_QUADS(r, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))));
}
V_INLINE void v_store_half(uint16_t *p, vf x) {
    V_FOR (i, 4)
        vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.q[i])));
}
/* Sixteen numbers of 16 bits as the upper halves of lanes, and back. */
V_INLINE vu v_load_upper(const uint16_t *p) {
    vu r;
    V_QUADS(r, vshll_n_u16(vld1_u16(p + 4 * i), 16));
}
V_INLINE void v_store_upper(uint16_t *p, vu x) {
    V_FOR (i, 4)
        vst1_u16(p + 4 * i, vshrn_n_u32(x.q[i], 16));
}
V_INLINE void v_fold_block(const vf x[V_BLOCK], float sums[V_BLOCK]) {
    V_FOR (i, V_BLOCK)
        sums[i] = v_fold(x[i]);
}

#endif
