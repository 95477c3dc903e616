/* SPDX-License-Identifier: MIT
 * The nearest centroid's code, and a code's centroid, on vectors of 16 lanes. A code's magnitude is found
 * by walking the boundaries as a binary tree: the sign of (boundary - value) is the next bit. `bits` and
 * `ranked` are constants where these are called. */
#ifndef TQ_KERNELS_NEAREST_VEC_H
#define TQ_KERNELS_NEAREST_VEC_H

#include <stdbool.h>

#include "kernels/kernels.h"

/* The tree's levels, 2^l boundaries each. */
typedef struct tree {
    v_table level[7];
} tree;

V_INLINE tree load_tree(const float *t, const unsigned bits) {
    tree out;
    V_UNROLL
    for (unsigned l = 0; l + 1 < bits; l++)
        out.level[l] = v_table_load(t + (1u << l), l);
    return out;
}

/* `top` with the bits below it that count the positive boundaries strictly below z. A table's lookup
 * ignores what is above its own bits, so that the top one needs no place of its own. */
V_INLINE vu count_below(const tree *t, const unsigned bits, vu top, vf z) {
    vu index = top;
    V_FOR (l, bits - 1)
        index = v_push_sign(index, v_sub(v_lookup(&t->level[l], l, index), z));
    return index;
}

/* v1's rank: boundaries strictly below u, negative ones too. For u <= 0 those at |u| count among the
 * magnitudes below: the next float up sees to that, but infinity must stay what it is. */
V_INLINE vu rank_code(const tree *t, const unsigned bits, vf u) {
    const vu positive = v_sign(v_sub(v_set(0.0f), u));
    const vu magnitude = v_and(v_bits(u), v_setu(INT32_MAX));
    const vu infinite = v_shr(v_addu(magnitude, v_setu(0x00800000)), 31); /* then the float below does */
    const vu above = v_subu(v_subu(v_addu(magnitude, v_setu(1)), positive), infinite);
    const vu mirror = v_and(v_subu(positive, v_setu(1)), v_setu((1u << (bits - 1)) - 1));
    return v_xor(count_below(t, bits, positive, v_floats(above)), mirror);
}

V_INLINE vu sign_code(const tree *t, const unsigned bits, vf u) {
    return count_below(t, bits, v_sign(u), v_abs(u));
}

/* A code's centroid from the positive half of the table: codebooks are antisymmetric. Bits above the code
 * are ignored. */
V_INLINE vf centroids(const v_table *half, const unsigned bits, const bool ranked, vu code) {
    if (ranked) { /* below the middle: the mirror image, negative */
        const vu below = v_subu(v_and(v_shr(code, bits - 1), v_setu(1)), v_setu(1));
        const vf c = v_lookup(half, bits - 1, v_xor(code, below));
        return v_floats(v_xor(v_bits(c), v_and(below, v_setu(1u << 31))));
    }
    const vf c = v_lookup(half, bits - 1, code);
    return v_floats(v_xor(v_bits(c), v_and(v_shl(code, 32 - bits), v_setu(1u << 31))));
}

#endif
