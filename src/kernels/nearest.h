/* SPDX-License-Identifier: MIT
 * The stored code of the centroid nearest to a value: the definition, by halving. */
#ifndef TQ_KERNELS_NEAREST_H
#define TQ_KERNELS_NEAREST_H

#include <math.h>

#include "kernels/kernels.h"

/* How many of the n = 2^k - 1 ascending bounds are below m; equal ones count if `or_equal`. */
static inline unsigned tq_count_below(const float *bounds, unsigned n, float m, int or_equal) {
    unsigned count = 0;
    for (unsigned half = (n + 1) / 2; half >= 1; half /= 2) {
        const float b = bounds[count + half - 1];
        if (or_equal ? b <= m : b < m) count += half;
    }
    return count;
}

/* v1 counts all boundaries strictly below u. A boundary is the mirror image of another, so for u <= 0
 * that is the number of positive ones above |u|. v2 is symmetric: equality stays inside, and zero keeps
 * its sign. */
static inline unsigned tq_nearest_code(const tq_codebook_tables *book, float u) {
    const unsigned half = 1u << (book->bits - 1);
    const float m = fabsf(u);
    if (book->ranked && !(u > 0.0f)) return half - 1 - tq_count_below(book->bounds, half - 1, m, 1);
    const unsigned magnitude = tq_count_below(book->bounds, half - 1, m, 0);
    return book->ranked || signbit(u) ? half + magnitude : magnitude;
}

#endif
