/* SPDX-License-Identifier: MIT
 * How sure a mean over the positions of a text is: a bootstrap by blocks of neighbours (Künsch 1989,
 * without overlap), since what a model does at one position depends on those before it. */
#ifndef TQKV_MEASURE_BOOTSTRAP_H
#define TQKV_MEASURE_BOOTSTRAP_H

#include <stddef.h>

enum {
    MEASURE_BLOCK = 64,       /* neighbours that are drawn together */
    MEASURE_LEAST_BLOCKS = 8, /* fewer say nothing */
    MEASURE_RESAMPLES = 1000
};

typedef struct measure_interval {
    double low, high;
} measure_interval;

/* The middle 95 % of the means of texts of n positions drawn from x [n] with replacement, block by block;
 * both NaN where there are fewer than MEASURE_LEAST_BLOCKS blocks. Every call with the same n draws the
 * same, so that the interval of a difference is that of a difference on the same texts. 0, or -1 when
 * memory ran out. */
int measure_bootstrap(const double *x, size_t n, measure_interval *interval);

#endif
