/* SPDX-License-Identifier: MIT
 * Products of bytes by NEON's dot product: four of them are added up in one instruction, signed by signed
 * or unsigned by unsigned. Keys' digits and queries' are signed. Weights are not, so centroid digits of
 * values carry a bias. */
#ifndef TQ_KERNELS_VEC_PRODUCTS_H
#define TQ_KERNELS_VEC_PRODUCTS_H

#include "kernels/vec/bytes_neon.h"

#define V_KEY_BIAS   0
#define V_VALUE_BIAS 128

/* acc + the products of keys' digits and queries', in fours. */
V_INLINE vi v_dot_key(vi acc, vb key, vb query) {
    return vdotq_s32(acc, vreinterpretq_s8_u8(key), vreinterpretq_s8_u8(query));
}

/* acc + the products of four positions' weights, of 8 bits or 7, and values' digits. */
typedef uint8x16_t v_weight, v_value;

V_INLINE v_weight v_weight_of(const uint8_t *four) {
    return vreinterpretq_u8_u32(vdupq_n_u32((uint32_t)v_bytes_load(four, 4)));
}
V_INLINE v_value v_value_of(vb digits) {
    return digits;
}
V_INLINE vi v_dot_value(vi acc, const v_weight *w, const v_value *value) {
    return vreinterpretq_s32_u32(vdotq_u32(vreinterpretq_u32_s32(acc), *w, *value));
}

#endif
