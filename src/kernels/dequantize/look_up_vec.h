/* SPDX-License-Identifier: MIT
 * Centroids of a vector of codes, by whatever is shortest for their number of bits. `bits`, `ranked` and
 * `bytes` are constants where this is called. */
#ifndef TQ_KERNELS_LOOK_UP_VEC_H
#define TQ_KERNELS_LOOK_UP_VEC_H

#include "kernels/kernels.h"
#include "kernels/pack/planes_vec.h"
#include "kernels/quantize/nearest_vec.h"

/* A codebook at hand: all levels where one lookup reaches them, the positive half, and that half as bytes
 * where those are looked up instead. */
typedef struct book_levels {
    v_table half, all;
#ifdef V_FOURTHS
    v_fourths fourths;
#endif
} book_levels;

V_INLINE bool by_fourths(const unsigned bits, const bool ranked) {
#ifdef V_FOURTHS
    return !ranked && (bits == V_FOURTHS + 1 || bits == V_FOURTHS + 2);
#else
    (void)bits, (void)ranked;
    return false;
#endif
}

V_INLINE book_levels load_levels(const tq_codebook_tables *book, const unsigned bits, const bool ranked) {
    const float *half = book->levels + (ranked ? 1u << (bits - 1) : 0);
    book_levels l;
    l.half = v_table_load(half, bits - 1);
    l.all = v_table_load(book->levels, is_whole(bits) ? bits : 0);
#ifdef V_FOURTHS
    if (by_fourths(bits, ranked)) l.fourths = v_fourths_load(half, bits - 1);
#endif
    return l;
}

V_INLINE vf magnitudes(const book_levels *l, const unsigned bits, vu index) {
#ifdef V_FOURTHS
    if (by_fourths(bits, false)) return v_fourths_look_up(&l->fourths, bits - 1, index);
#endif
    return v_lookup(&l->half, bits - 1, index);
}

/* Of the vector at hand. */
V_INLINE vf look_up(const book_levels *l, const unsigned bits, const bool ranked, const bool bytes,
                    const block_in *b) {
    if (is_whole(bits)) return v_lookup(&l->all, bits, block_code(b, bits, bytes));
    if (has_flags(bits) && !bytes)
        return v_signed(magnitudes(l, bits, block_low(b, bits, bytes)), b->flags);
    if (!by_fourths(bits, ranked)) return centroids(&l->half, bits, ranked, block_code(b, bits, bytes));
    const vu code = block_code(b, bits, bytes);
    const vu sign = v_and(v_shl(code, 32 - bits), v_setu(1u << 31));
    return v_floats(v_xor(v_bits(magnitudes(l, bits, code)), sign));
}

#endif
