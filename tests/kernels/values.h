/* SPDX-License-Identifier: MIT
 * Rows of values that kernels have reasons to get wrong. */
#ifndef TESTS_KERNELS_VALUES_H
#define TESTS_KERNELS_VALUES_H

#include <stddef.h>

#include "kernels/kernels.h"
#include "support/rng.h"

typedef enum pattern {
    GAUSS,
    TINY,      /* around 1e-18 */
    LARGE,     /* around 1e15 */
    MIXED,     /* every magnitude from 1e-18 to 1e15 */
    SUBNORMAL, /* and zeros among them */
    ZEROS,     /* of both signs */
    ALL_EQUAL, /* but for the sign */
    ONE_HOT,
    ONE_HUGE, /* 1e15 among ordinary ones */
    TIES,     /* boundaries of the codebook and their neighbours */
    EXTREME,  /* the largest, the smallest normal, the smallest */
    FINITE_PATTERNS,
    NOT_FINITE = FINITE_PATTERNS, /* NaN and infinities among ordinary ones */
    ALL_PATTERNS
} pattern;

const char *pattern_name(pattern p);

/* book: read by TIES; NULL: boundaries of no book in particular. */
void fill_values(pattern p, rng *r, const tq_codebook_tables *book, float *x, size_t n);

#endif
