/* SPDX-License-Identifier: MIT
 * Distortion on Gaussian rows, plain norm rule, against its exact expectation at every head dimension. */
#include <math.h>
#include <stdio.h>

#include "model.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/lloyd.h"
#include "support/rng.h"

enum { VALUES = 24000, MAX_ROWS = VALUES / MODEL_FIRST_DIM };

typedef struct figure {
    double mean, standard_error;
} figure;

static double relative_error(size_t dim, const float *x, const float *y) {
    double off = 0, all = 0;
    for (size_t j = 0; j < dim; j++) {
        double d = (double)x[j] - (double)y[j];
        off += d * d;
        all += (double)x[j] * (double)x[j];
    }
    return off / all;
}

static figure measure(unsigned bits, size_t dim, size_t rows, const float *x) {
    static uint8_t codes[VALUES];
    static uint16_t norms[MAX_ROWS];
    static float y[VALUES];
    tq_codec codec = {.format = (tq_format)bits, .head_dim = (uint32_t)dim, .norm_rule = TQ_NORM_PLAIN};
    tq_batch batch = {.heads = 1, .rows = rows};
    size_t n = rows * dim;
    assert_int_equal(tq_encode(&codec, &batch, x, n, NULL, 0, codes, sizeof codes, norms, 2 * rows),
                     TQ_OK);
    assert_int_equal(
        tq_decode(&codec, &batch, TQ_ORIGINAL, codes, sizeof codes, norms, 2 * rows, NULL, 0, y, n),
        TQ_OK);
    double sum = 0, squares = 0;
    for (size_t t = 0; t < rows; t++) {
        double e = relative_error(dim, x + t * dim, y + t * dim);
        sum += e;
        squares += e * e;
    }
    double mean = sum / (double)rows, variance = squares / (double)rows - mean * mean;
    figure f = {mean, sqrt(variance / (double)(rows - 1))};
    return f;
}

/* Standard errors are the larger of the sample's own and of the exact one: a sample that happens to hold
 * no far coordinate, whose errors are the largest, believes itself better than it is. A rotated Gaussian
 * vector over its length is uniform on the sphere, whatever the rotation: the expectation is an integral
 * over one coordinate's density. */
static void distortion_meets_its_expectation(void **state) {
    (void)state;
    static float x[VALUES];
    double noise[9] = {0};
    rng r = {20};
    lloyd q[9];
    for (unsigned bits = 2; bits <= 8; bits++)
        lloyd_solve(&q[bits], bits);
    printf("  relative squared error over the table's; the furthest from its expectation, in standard "
           "errors\n");
    printf("     D  rows     tq2     tq3     tq4     tq5     tq6     tq7     tq8   furthest\n");
    for (size_t dim = MODEL_FIRST_DIM; dim <= MODEL_MAX_DIM; dim += MODEL_DIM_STEP) {
        size_t rows = VALUES / dim;
        double furthest = 0;
        rng_gauss_fill(&r, x, rows * dim);
        printf("  %4zu  %4zu", dim, rows);
        for (unsigned bits = 2; bits <= 8; bits++) {
            double want = lloyd_distortion_sphere(&q[bits], (unsigned)dim);
            figure got = measure(bits, dim, rows, x);
            double error =
                fmax(got.standard_error, sqrt(lloyd_error_variance(&q[bits]) / (double)(rows * dim)));
            double away = (got.mean - want) / error;
            if (fabs(away) > fabs(furthest)) furthest = away;
            printf("  %.4f", got.mean / model_table[bits]);
            assert_true(fabs(away) <= 5);
            noise[bits] += got.standard_error / want / 63;
            if (dim >= 64)
                assert_true(want / model_table[bits] > 0.95 && want / model_table[bits] < 1.01);
        }
        printf("  %9.2f\n", furthest);
    }
    printf("  standard error, mean over D:");
    /* A sample too small to tell would pass for ever. On the mean: one coordinate beyond 5 sigma, which
     * some dimension meets, is most of its own sample's variance. */
    for (unsigned bits = 2; bits <= 8; bits++) {
        printf("  %.4f", noise[bits]);
        assert_true(noise[bits] < 0.03);
    }
    printf("\n");
}

/* A sample large enough for the ratio itself. */
static void ratio_to_the_table(void **state) {
    (void)state;
    static const size_t dims[] = {64, 80, 128, 256, 576, 1024};
    static float x[VALUES];
    printf("  ratio to the table, 8 samples of %d values each\n", VALUES);
    printf("     D     tq2     tq3     tq4     tq5     tq6     tq7     tq8\n");
    for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++) {
        double sum[9] = {0};
        rng r = {30 + d};
        for (int sample = 0; sample < 8; sample++) {
            size_t rows = VALUES / dims[d];
            rng_gauss_fill(&r, x, rows * dims[d]);
            for (unsigned bits = 2; bits <= 8; bits++)
                sum[bits] += measure(bits, dims[d], rows, x).mean / 8;
        }
        printf("  %4zu", dims[d]);
        for (unsigned bits = 2; bits <= 8; bits++) {
            double ratio = sum[bits] / model_table[bits];
            printf("  %.4f", ratio);
            assert_true(ratio > 0.95 && ratio < 1.01);
        }
        printf("\n");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(distortion_meets_its_expectation),
                                       cmocka_unit_test(ratio_to_the_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
