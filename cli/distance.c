/* SPDX-License-Identifier: MIT
 * How far one set of vectors is from another: relative squared error, cosines, largest difference. */
#include "distance.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "command.h"
#include "message.h"

int cli_distance_begin(cli_distance *distance, size_t n_vectors) {
    *distance = (cli_distance){0};
    if (n_vectors > SIZE_MAX / sizeof(double)) {
        return cli_out_of_memory();
    }
    distance->cosines = malloc((n_vectors ? n_vectors : 1) * sizeof(double));
    return distance->cosines ? CLI_DONE : cli_out_of_memory();
}

static double cosine(double ab, double aa, double bb) {
    if (aa == 0.0 || bb == 0.0) {
        return aa == bb ? 1.0 : 0.0;
    }
    return ab / sqrt(aa) / sqrt(bb);
}

void cli_distance_add(cli_distance *distance, const float *a, const float *b, size_t rows,
                      size_t head_dim) {
    for (size_t row = 0; row < rows; row++, a += head_dim, b += head_dim) {
        double aa = 0.0, ab = 0.0, bb = 0.0, error = 0.0;
        for (size_t d = 0; d < head_dim; d++) {
            const double x = (double)a[d], y = (double)b[d];
            aa += x * x;
            ab += x * y;
            bb += y * y;
            error += (x - y) * (x - y);
            if (fabs(x - y) > distance->max_abs) {
                distance->max_abs = fabs(x - y);
            }
        }
        distance->error += error;
        distance->reference += aa;
        distance->cosines[distance->n_vectors++] = cosine(ab, aa, bb);
    }
}

void cli_distance_free(cli_distance *distance) {
    free(distance->cosines);
    distance->cosines = NULL;
}

double cli_relative_error(const cli_distance *distance) {
    if (distance->reference > 0.0) {
        return distance->error / distance->reference;
    }
    return distance->error > 0.0 ? HUGE_VAL : 0.0;
}

double cli_mean_cosine(const cli_distance *distance) {
    double sum = 0.0;
    for (size_t i = 0; i < distance->n_vectors; i++) {
        sum += distance->cosines[i];
    }
    return sum / (double)distance->n_vectors;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double cli_first_percentile(cli_distance *distance) {
    const size_t n = distance->n_vectors;
    qsort(distance->cosines, n, sizeof *distance->cosines, ascending);
    return distance->cosines[(n - 1) / 100];
}
