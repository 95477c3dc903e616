/* SPDX-License-Identifier: MIT
 * The rotation of every head dimension: orthonormal, its own inverse, in place, prefix of one sign table.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/rng.h"

/* 10 butterflies, or up to 6 and sums of 61 products, of entries below 0.3: measured below 5e-7. */
static const double tolerance = 1e-6;

static float *identity(size_t dim) {
    float *rows = test_alloc(dim * dim * sizeof *rows);
    memset(rows, 0, dim * dim * sizeof *rows);
    for (size_t i = 0; i < dim; i++)
        rows[i * dim + i] = 1.0f;
    return rows;
}

static void rotate(size_t dim, tq_domain to, size_t rows, const float *src, float *dst) {
    tq_codec codec = {.format = TQ_TQ4, .head_dim = (uint32_t)dim};
    assert_int_equal(tq_rotate(&codec, to, rows, src, dst), TQ_OK);
}

/* in[i] is the image of e_i. The way back must be the transposed matrix: then (back of in) = Q^T Q,
 * whole, without the D^3 products that computing it by hand would take. */
static double transposition_error(size_t dim, const float *in, const float *out) {
    double worst = 0;
    for (size_t i = 0; i < dim; i++)
        for (size_t j = 0; j < dim; j++)
            worst = fmax(worst, fabs((double)in[i * dim + j] - (double)out[j * dim + i]));
    return worst;
}

static double identity_error(size_t dim, const float *m) {
    double worst = 0;
    for (size_t i = 0; i < dim; i++)
        for (size_t j = 0; j < dim; j++)
            worst = fmax(worst, fabs((double)m[i * dim + j] - (i == j ? 1 : 0)));
    return worst;
}

/* Products of rows in float64: all pairs up to D = 256, beyond it each row with itself and 16 others. */
static double gram_error(size_t dim, const float *m) {
    double worst = 0;
    size_t partners = dim <= 256 ? dim : 17;
    for (size_t i = 0; i < dim; i++) {
        for (size_t k = 0; k < partners; k++) {
            size_t other = k == 0 ? i : (i + (dim <= 256 ? k : k * k * 7)) % dim;
            double sum = 0;
            for (size_t j = 0; j < dim; j++)
                sum += (double)m[i * dim + j] * (double)m[other * dim + j];
            worst = fmax(worst, fabs(sum - (other == i ? 1 : 0)));
        }
    }
    return worst;
}

static void orthonormal(void **state) {
    (void)state;
    printf("     D  |in out - 1|  |out - in^T|   |Q Q^T - 1|  largest entry x sqrt(D)\n");
    for (size_t dim = MODEL_FIRST_DIM; dim <= MODEL_MAX_DIM; dim += MODEL_DIM_STEP) {
        size_t bytes = dim * dim * sizeof(float);
        float *in = identity(dim), *out = identity(dim), *back = test_alloc(bytes), largest = 0;
        rotate(dim, TQ_ROTATED, dim, in, in);
        rotate(dim, TQ_ORIGINAL, dim, out, out);
        rotate(dim, TQ_ORIGINAL, dim, in, back);
        double there_and_back = identity_error(dim, back), transposed = transposition_error(dim, in, out);
        double gram = gram_error(dim, in);
        for (size_t i = 0; i < dim * dim; i++)
            largest = fmaxf(largest, fabsf(in[i]));
        printf("  %4zu  %12.2e  %12.2e  %12.2e  %.4f\n", dim, there_and_back, transposed, gram,
               (double)largest * sqrt((double)dim));
        assert_true(there_and_back < tolerance && transposed < tolerance && gram < tolerance);
        free(in);
        free(out);
        free(back);
    }
}

static void lengths_and_products_are_kept(void **state) {
    (void)state;
    static float x[2 * MODEL_MAX_DIM], y[2 * MODEL_MAX_DIM], z[2 * MODEL_MAX_DIM];
    rng r = {4};
    for (size_t dim = MODEL_FIRST_DIM; dim <= MODEL_MAX_DIM; dim += MODEL_DIM_STEP) {
        rng_gauss_fill(&r, x, 2 * dim);
        rotate(dim, TQ_ROTATED, 2, x, y);
        rotate(dim, TQ_ORIGINAL, 2, y, z);
        double xx = 0, yy = 0, x01 = 0, y01 = 0;
        for (size_t j = 0; j < dim; j++) {
            xx += (double)x[j] * (double)x[j];
            yy += (double)y[j] * (double)y[j];
            x01 += (double)x[j] * (double)x[dim + j];
            y01 += (double)y[j] * (double)y[dim + j];
            assert_true(fabs((double)x[j] - (double)z[j]) < 5e-6);
        }
        assert_true(fabs(xx / yy - 1) < 1e-6 && fabs(x01 - y01) < 1e-6 * xx);
    }
}

static void in_place_is_the_same(void **state) {
    (void)state;
    static float x[3 * MODEL_MAX_DIM], apart[3 * MODEL_MAX_DIM], place[3 * MODEL_MAX_DIM];
    rng r = {5};
    for (size_t dim = MODEL_FIRST_DIM; dim <= MODEL_MAX_DIM; dim += MODEL_DIM_STEP) {
        rng_gauss_fill(&r, x, 3 * dim);
        for (int to = 0; to < 2; to++) {
            memcpy(place, x, 3 * dim * sizeof(float));
            rotate(dim, (tq_domain)to, 3, x, apart);
            rotate(dim, (tq_domain)to, 3, place, place);
            assert_memory_equal(apart, place, 3 * dim * sizeof(float));
        }
    }
}

/* The format does not matter to the rotation, only the version and D do. */
static void all_formats_share_it(void **state) {
    (void)state;
    float x[96], want[96], got[96];
    rng r = {6};
    rng_gauss_fill(&r, x, 96);
    rotate(96, TQ_ROTATED, 1, x, want);
    for (unsigned bits = 2; bits <= 8; bits++) {
        tq_codec codec = {.format = (tq_format)bits, .head_dim = 96};
        assert_int_equal(tq_rotate(&codec, TQ_ROTATED, 1, x, got), TQ_OK);
        assert_memory_equal(want, got, sizeof got);
    }
}

static void values_that_are_not_finite_pass(void **state) {
    (void)state;
    for (size_t dim = MODEL_FIRST_DIM; dim <= MODEL_MAX_DIM; dim += MODEL_DIM_STEP) {
        static const float values[] = {NAN, INFINITY, -INFINITY};
        float x[MODEL_MAX_DIM] = {0}, y[MODEL_MAX_DIM];
        for (size_t v = 0; v < 3; v++) {
            x[dim - 1] = values[v];
            rotate(dim, TQ_ROTATED, 1, x, y);
            size_t spoiled = 0;
            for (size_t j = 0; j < dim; j++)
                if (!isfinite(y[j])) spoiled++;
            assert_int_equal(spoiled, dim);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orthonormal),
        cmocka_unit_test(lengths_and_products_are_kept),
        cmocka_unit_test(in_place_is_the_same),
        cmocka_unit_test(all_formats_share_it),
        cmocka_unit_test(values_that_are_not_finite_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
