/* SPDX-License-Identifier: MIT
 * Products of bytes by AVX-VNNI: four of them are added up in one instruction, unsigned by signed.
 * Centroid digits of keys carry a bias. */
#ifndef TQ_KERNELS_VEC_PRODUCTS_H
#define TQ_KERNELS_VEC_PRODUCTS_H

#include "kernels/vec/bytes_avx2.h"

#define V_KEY_BIAS   128
#define V_VALUE_BIAS 0

/* acc + the products of keys' digits and queries', in fours. */
V_INLINE vi v_dot_key(vi acc, vb key, vb query) {
    return _mm256_dpbusd_avx_epi32(acc, key, query);
}

/* acc + the products of four positions' weights, of 8 bits or 7, and values' digits. */
typedef __m256i v_weight, v_value;

V_INLINE v_weight v_weight_of(const uint8_t *four) {
    int32_t word;
    memcpy(&word, four, sizeof word);
    return _mm256_set1_epi32(word);
}
V_INLINE v_value v_value_of(vb digits) {
    return digits;
}
V_INLINE vi v_dot_value(vi acc, const v_weight *w, const v_value *value) {
    return _mm256_dpbusd_avx_epi32(acc, *w, *value);
}

#endif
