/* SPDX-License-Identifier: MIT
 * Centroids of a vector of codes, by whatever is shortest for their number of bits. `bits`, `ranked` and
 * `bytes` are constants where this is called. */
#ifndef TQ_KERNELS_LOOK_UP_VEC_H
#define TQ_KERNELS_LOOK_UP_VEC_H

#include "kernels/kernels.h"
#include "kernels/pack/planes_vec.h"
#include "kernels/quantize/nearest_vec.h"

/* A codebook in registers: all levels where one lookup reaches them, and the positive half. */
typedef struct book_levels {
    v_table half, all;
} book_levels;

V_INLINE book_levels load_levels(const tq_codebook_tables *book, const unsigned bits, const bool ranked) {
    return (book_levels){v_table_load(book->levels + (ranked ? 1u << (bits - 1) : 0), bits - 1),
                         v_table_load(book->levels, is_whole(bits) ? bits : 0)};
}

/* Of the vector at hand. */
V_INLINE vf look_up(const book_levels *l, const unsigned bits, const bool ranked, const bool bytes,
                    const block_in *b) {
    if (is_whole(bits)) return v_lookup(&l->all, bits, block_code(b, bits, bytes));
    if (has_flags(bits) && !bytes)
        return v_signed(v_lookup(&l->half, bits - 1, block_low(b, bits, bytes)), b->flags);
    return centroids(&l->half, bits, ranked, block_code(b, bits, bytes));
}

#endif
