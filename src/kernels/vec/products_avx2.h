/* SPDX-License-Identifier: MIT
 * Products of bytes by AVX2. They are added in pairs to 16 bits, unsigned by signed: the magnitude of one
 * by the other with its sign, which never saturates at 128 times 127. */
#ifndef TQ_KERNELS_VEC_PRODUCTS_H
#define TQ_KERNELS_VEC_PRODUCTS_H

#include "kernels/vec/bytes_avx2.h"

#define V_KEY_BIAS   0
#define V_VALUE_BIAS 0

/* acc + the products of keys' digits and queries', in fours. */
V_INLINE vi v_dot_key(vi acc, vb key, vb query) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(key), _mm256_sign_epi8(query, key));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* acc + the products of words, in pairs. */
V_INLINE vi v_dot_words(vi acc, vb x, vb y) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(x, y));
}

/* acc + the products of four positions' weights and values' digits. Weights of 8 bits would saturate:
 * positions are taken two by two in 16 bits. */
typedef struct v_weight {
    __m256i even, odd;
} v_weight;
typedef v_weight v_value;

V_INLINE v_weight v_weight_of(const uint8_t *four) {
    int32_t word;
    memcpy(&word, four, sizeof word);
    const __m256i all = _mm256_set1_epi32(word);
    return (v_weight){_mm256_and_si256(all, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(all, 8)};
}
V_INLINE v_value v_value_of(vb digits) {
    return (v_value){_mm256_srai_epi16(_mm256_slli_epi16(digits, 8), 8), _mm256_srai_epi16(digits, 8)};
}
V_INLINE vi v_dot_value(vi acc, const v_weight *w, const v_value *value) {
    return _mm256_add_epi32(acc, _mm256_add_epi32(_mm256_madd_epi16(value->even, w->even),
                                                  _mm256_madd_epi16(value->odd, w->odd)));
}

#endif
