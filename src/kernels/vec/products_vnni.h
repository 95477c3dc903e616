/* SPDX-License-Identifier: MIT
 * Products of bytes by VNNI: four of them are added up in one instruction, v_dot_bytes(), unsigned by
 * signed, or two of words, v_dot_words(). Centroid digits of keys carry a bias. Behind the bytes of a
 * level. */
#ifndef TQ_KERNELS_VEC_PRODUCTS_H
#define TQ_KERNELS_VEC_PRODUCTS_H

#define V_KEY_BIAS   128
#define V_VALUE_BIAS 0

/* acc + the products of keys' digits and queries', in fours. */
V_INLINE vi v_dot_key(vi acc, vb key, vb query) {
    return v_dot_bytes(acc, key, query);
}

/* acc + the products of four positions' weights, of 8 bits or 7, and values' digits. */
typedef vb v_weight, v_value;

V_INLINE v_weight v_weight_of(const uint8_t *four) {
    int32_t word;
    memcpy(&word, four, sizeof word);
    return v_sums_of(word);
}
V_INLINE v_value v_value_of(vb digits) {
    return digits;
}
V_INLINE vi v_dot_value(vi acc, const v_weight *w, const v_value *value) {
    return v_dot_bytes(acc, *w, *value);
}

#endif
