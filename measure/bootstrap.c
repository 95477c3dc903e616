/* SPDX-License-Identifier: MIT
 * Means of texts drawn from a text. */
#include "bootstrap.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "percentile.h"

enum { TAIL = MEASURE_RESAMPLES / 40 }; /* 2.5 % on either side */

/* Numbers below n from a fixed seed (splitmix64); n is far below 2^32, so that no place is likelier. */
static size_t draw(uint64_t *state, size_t n) {
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (size_t)((z ^ z >> 31) % n);
}

/* The mean of one drawn text: the last block may be shorter than the others. */
static double resample(const double *sums, size_t blocks, size_t last, uint64_t *state) {
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < blocks; i++) {
        const size_t block = draw(state, blocks);
        sum += sums[block];
        n += block + 1 < blocks ? MEASURE_BLOCK : last;
    }
    return sum / (double)n;
}

int measure_bootstrap(const double *x, size_t n, measure_interval *interval) {
    const size_t blocks = n / MEASURE_BLOCK + (n % MEASURE_BLOCK != 0);
    double means[MEASURE_RESAMPLES];
    uint64_t state = 1;
    *interval = (measure_interval){NAN, NAN};
    if (blocks < MEASURE_LEAST_BLOCKS) return 0;
    double *sums = calloc(blocks, sizeof *sums);
    if (!sums) return -1;
    for (size_t i = 0; i < n; i++)
        sums[i / MEASURE_BLOCK] += x[i];
    for (size_t i = 0; i < MEASURE_RESAMPLES; i++)
        means[i] = resample(sums, blocks, n - (blocks - 1) * MEASURE_BLOCK, &state);
    free(sums);
    measure_sort(means, MEASURE_RESAMPLES);
    *interval = (measure_interval){means[TAIL - 1], means[MEASURE_RESAMPLES - TAIL]};
    return 0;
}
