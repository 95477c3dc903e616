/* SPDX-License-Identifier: MIT
 * How far one set of vectors is from another: relative squared error, cosines, largest difference. */
#include "distance.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "percentile.h"

tq_status measure_distance_begin(measure_distance *distance, size_t n_vectors) {
    *distance = (measure_distance){0};
    if (n_vectors > SIZE_MAX / sizeof(double)) return TQ_E_NO_MEMORY;
    distance->cosines = malloc((n_vectors ? n_vectors : 1) * sizeof(double));
    return distance->cosines ? TQ_OK : TQ_E_NO_MEMORY;
}

static double cosine(double ab, double aa, double bb) {
    if (aa == 0.0 || bb == 0.0) return aa == bb ? 1.0 : 0.0;
    return ab / sqrt(aa) / sqrt(bb);
}

measure_sums measure_sums_of(const float *a, const float *b, size_t n) {
    measure_sums s = {0};
    for (size_t i = 0; i < n; i++) {
        const double x = (double)a[i], y = (double)b[i];
        s.aa += x * x;
        s.ab += x * y;
        s.bb += y * y;
        s.error += (x - y) * (x - y);
    }
    return s;
}

void measure_distance_add(measure_distance *distance, const float *a, const float *b, size_t rows,
                          size_t head_dim) {
    for (size_t row = 0; row < rows; row++, a += head_dim, b += head_dim) {
        const measure_sums s = measure_sums_of(a, b, head_dim);
        for (size_t d = 0; d < head_dim; d++)
            distance->max_abs = fmax(distance->max_abs, fabs((double)a[d] - (double)b[d]));
        distance->error += s.error;
        distance->reference += s.aa;
        distance->cosines[distance->n_vectors++] = cosine(s.ab, s.aa, s.bb);
    }
}

void measure_distance_free(measure_distance *distance) {
    free(distance->cosines);
    distance->cosines = NULL;
}

double measure_relative_error(const measure_distance *distance) {
    if (distance->reference > 0.0) return distance->error / distance->reference;
    return distance->error > 0.0 ? HUGE_VAL : 0.0;
}

double measure_mean_cosine(const measure_distance *distance) {
    double sum = 0.0;
    for (size_t i = 0; i < distance->n_vectors; i++)
        sum += distance->cosines[i];
    return sum / (double)distance->n_vectors;
}

double measure_first_percentile(measure_distance *distance) {
    const size_t n = distance->n_vectors;
    measure_sort(distance->cosines, n);
    return distance->cosines[measure_rank(n, 1)];
}
