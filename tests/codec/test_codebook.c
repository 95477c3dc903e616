/* SPDX-License-Identifier: MIT
 * The codebooks: Lloyd-Max conditions, distortion against the optimum, v1's published tables. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model.h"
#include "support/cm.h"
#include "support/lloyd.h"

/* The positive half of the library's table, in float64. */
static void read_half(unsigned bits, lloyd *q, float *centroids, float *boundaries) {
    assert_int_equal(tq_codebook((tq_format)bits, centroids, boundaries), TQ_OK);
    q->n = (size_t)1 << (bits - 1);
    q->lower[0] = 0;
    q->lower[q->n] = INFINITY;
    for (size_t i = 0; i < q->n; i++)
        q->centroid[i] = (double)centroids[q->n + i];
    for (size_t i = 1; i < q->n; i++)
        q->lower[i] = (double)boundaries[q->n - 1 + i];
}

/* What rounding a value to float32 may cost; nothing for 0 and infinity. */
static double half_ulp(double x) {
    float f = (float)x;
    return f == 0.0f || isinf(f) ? 0 : 0.5 * ((double)nextafterf(f, INFINITY) - (double)f);
}

/* Both conditions, in units of what rounding a solution to float32 may cost: a centroid's own half ulp,
 * and that of the boundaries (the density is log-concave: moving both ends of a cell moves its mean by
 * less). */
static void conditions(const lloyd *q, double *worst_mean, double *worst_middle) {
    *worst_mean = *worst_middle = 0;
    for (size_t i = 0; i < q->n; i++) {
        double lo = q->lower[i], hi = q->lower[i + 1], c = q->centroid[i];
        double off = fabs(c - lloyd_cell_mean(lo, hi));
        *worst_mean = fmax(*worst_mean, off / (half_ulp(c) + fmax(half_ulp(lo), half_ulp(hi))));
        if (i == 0) continue;
        double before = q->centroid[i - 1], gap = fabs(lo - 0.5 * (before + c));
        *worst_middle =
            fmax(*worst_middle, gap / (half_ulp(lo) + 0.5 * (half_ulp(before) + half_ulp(c))));
    }
    assert_true(*worst_mean <= 1.0);
    assert_true(*worst_middle <= 1.0);
}

static void lloyd_max_conditions(void **state) {
    (void)state;
    printf("  bits  outermost  |c - mean|  |b - middle|  distortion   above optimum  own residual\n");
    printf("                   (of what float32 may cost)               (relative)\n");
    for (unsigned bits = 2; bits <= 8; bits++) {
        float centroids[256], boundaries[255];
        lloyd q, best;
        double mean, middle, residual = lloyd_solve(&best, bits);
        read_half(bits, &q, centroids, boundaries);
        conditions(&q, &mean, &middle);
        double d = lloyd_distortion(&q), optimum = lloyd_distortion(&best);
        printf("  %4u  %9.6f  %10.3f  %12.3f  %.6e  %13.2e  %12.1e\n", bits, q.centroid[q.n - 1], mean,
               middle, d, d / optimum - 1, residual);
        assert_true(residual < 1e-13);
        assert_true(fabs(d / optimum - 1) < 1e-9);
        /* The published table has six digits. */
        assert_true(fabs(d / model_table[bits] - 1) < 5e-6);
    }
}

static void antisymmetric_and_ascending(void **state) {
    (void)state;
    size_t count = 0;
    const tq_format *formats = tq_formats(&count);
    for (size_t f = 0; f < count; f++) {
        float c[256], b[255];
        size_t n = (size_t)1 << tq_format_bits(formats[f]);
        assert_int_equal(tq_codebook(formats[f], c, b), TQ_OK);
        for (size_t i = 0; i < n; i++)
            assert_true(c[i] == -c[n - 1 - i]);
        for (size_t i = 0; i + 1 < n; i++) {
            assert_true(b[i] == -b[n - 2 - i]);
            assert_true(c[i] < b[i] && b[i] < c[i + 1]);
        }
        assert_true(b[n / 2 - 1] == 0.0f && !signbit(b[n / 2 - 1]));
    }
}

/* The float32 nearest to the optimum, so that a table made anywhere else has the same bits. */
static void rounded_from_the_optimum(void **state) {
    (void)state;
    for (unsigned bits = 2; bits <= 8; bits++) {
        float c[256], b[255];
        size_t half = (size_t)1 << (bits - 1);
        assert_int_equal(tq_codebook((tq_format)bits, c, b), TQ_OK);
        assert_memory_equal(c + half, model_centroids(bits), half * sizeof *c);
        assert_memory_equal(b + half, model_boundaries(bits), (half - 1) * sizeof *b);
    }
}

static void parts_may_be_left_out(void **state) {
    (void)state;
    float c[16], b[15], only_c[16], only_b[15];
    assert_int_equal(tq_codebook(TQ_TQ4, c, b), TQ_OK);
    assert_int_equal(tq_codebook(TQ_TQ4, only_c, NULL), TQ_OK);
    assert_int_equal(tq_codebook(TQ_TQ4, NULL, only_b), TQ_OK);
    assert_int_equal(tq_codebook(TQ_TQ4, NULL, NULL), TQ_OK);
    assert_memory_equal(c, only_c, sizeof c);
    assert_memory_equal(b, only_b, sizeof b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lloyd_max_conditions),
        cmocka_unit_test(antisymmetric_and_ascending),
        cmocka_unit_test(rounded_from_the_optimum),
        cmocka_unit_test(parts_may_be_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
