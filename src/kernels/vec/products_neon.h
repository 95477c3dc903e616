/* SPDX-License-Identifier: MIT
 * Products of bytes by NEON without the dot product's instructions: they are widened, then added in
 * pairs, twice. */
#ifndef TQ_KERNELS_VEC_PRODUCTS_H
#define TQ_KERNELS_VEC_PRODUCTS_H

#include "kernels/vec/bytes_neon.h"

#define V_KEY_BIAS   0
#define V_VALUE_BIAS 0

/* acc + the products of keys' digits and queries', in fours. */
V_INLINE vi v_dot_key(vi acc, vb key, vb query) {
    const int8x16_t k = vreinterpretq_s8_u8(key), q = vreinterpretq_s8_u8(query);
    return vpadalq_s16(acc, vpaddq_s16(vmull_s8(vget_low_s8(k), vget_low_s8(q)), vmull_high_s8(k, q)));
}

/* acc + the products of four positions' weights and values' digits. Weights of 8 bits have no sign:
 * positions are taken two by two in 16 bits. */
typedef struct v_weight {
    int16x8_t even, odd;
} v_weight;
typedef v_weight v_value;

V_INLINE v_weight v_weight_of(const uint8_t *four) {
    const uint32_t word = (uint32_t)v_bytes_load(four, 4);
    return (v_weight){vreinterpretq_s16_u32(vdupq_n_u32(word & 0x00ff00ff)),
                      vreinterpretq_s16_u32(vdupq_n_u32(word >> 8 & 0x00ff00ff))};
}
V_INLINE v_value v_value_of(vb digits) {
    const int16x8_t x = vreinterpretq_s16_u8(digits);
    return (v_value){vshrq_n_s16(vshlq_n_s16(x, 8), 8), vshrq_n_s16(x, 8)};
}
V_INLINE vi v_dot_value(vi acc, const v_weight *w, const v_value *value) {
    const int32x4_t low = vmlal_s16(vmull_s16(vget_low_s16(value->even), vget_low_s16(w->even)),
                                    vget_low_s16(value->odd), vget_low_s16(w->odd));
    const int32x4_t high = vmlal_high_s16(vmull_high_s16(value->even, w->even), value->odd, w->odd);
    return vaddq_s32(acc, vpaddq_s32(low, high));
}

#endif
