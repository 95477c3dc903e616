/* SPDX-License-Identifier: MIT
 * Percentiles by nearest rank. */
#include "percentile.h"

#include <stdlib.h>

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int ascending_floats(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

void measure_sort(double *values, size_t n) {
    qsort(values, n, sizeof *values, ascending);
}

void measure_sort_floats(float *values, size_t n) {
    qsort(values, n, sizeof *values, ascending_floats);
}

/* n * percent may be more than a size_t holds. */
size_t measure_rank(size_t n, size_t percent) {
    const size_t hundredths = n % 100 * percent;
    const size_t whole = n / 100 * percent + hundredths / 100 + (hundredths % 100 != 0);
    return whole ? whole - 1 : 0;
}
