/* SPDX-License-Identifier: MIT
 * Distortion on rows that no rotation makes Gaussian: one-hot, and a few channels far above the others.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/rng.h"

static double kurtosis(size_t n, const float *y) {
    double second = 0, fourth = 0;
    for (size_t j = 0; j < n; j++) {
        double square = (double)y[j] * (double)y[j];
        second += square;
        fourth += square * square;
    }
    return fourth * (double)n / (second * second);
}

/* Of u against its nearest centroids; both in the rotated domain, where lengths are the same. */
static double relative_error(size_t n, const float *u, const float *q) {
    double off = 0, all = 0;
    for (size_t j = 0; j < n; j++) {
        double d = (double)u[j] - (double)q[j];
        off += d * d;
        all += (double)u[j] * (double)u[j];
    }
    return off / all;
}

/* The rotated row at unit variance, as the encoder sees it. */
static void rotated_unit(size_t dim, const float *x, float *u) {
    tq_codec codec = {.format = TQ_TQ4, .head_dim = (uint32_t)dim};
    assert_int_equal(tq_rotate(&codec, TQ_ROTATED, 1, x, u), TQ_OK);
    double sum = 0;
    for (size_t j = 0; j < dim; j++)
        sum += (double)u[j] * (double)u[j];
    double scale = sqrt((double)dim / sum);
    for (size_t j = 0; j < dim; j++)
        u[j] = (float)(scale * (double)u[j]);
}

static void one_hot_rows(void **state) {
    (void)state;
    printf("  worst position of one-hot rows: error over the table's, and kurtosis of the rotated row\n");
    printf("     D     tq2     tq3     tq4     tq5     tq6     tq7     tq8   kurtosis\n");
    for (size_t dim = MODEL_FIRST_DIM; dim <= MODEL_MAX_DIM; dim += MODEL_DIM_STEP) {
        double worst[9] = {0}, worst_kurtosis = 0;
        float x[MODEL_MAX_DIM] = {0}, u[MODEL_MAX_DIM], q[MODEL_MAX_DIM];
        for (size_t hot = 0; hot < dim; hot++) {
            x[hot] = 1.0f;
            rotated_unit(dim, x, u);
            x[hot] = 0.0f;
            worst_kurtosis = fmax(worst_kurtosis, kurtosis(dim, u));
            for (unsigned bits = 2; bits <= 8; bits++) {
                assert_int_equal(tq_requantize((tq_format)bits, u, q, dim), TQ_OK);
                worst[bits] = fmax(worst[bits], relative_error(dim, u, q) / model_table[bits]);
            }
        }
        printf("  %4zu", dim);
        for (unsigned bits = 2; bits <= 8; bits++) {
            printf("  %6.3f", worst[bits]);
            assert_true(worst[bits] <= 2.0);
        }
        printf("  %9.3f\n", worst_kurtosis);
    }
}

/* The same through encode and decode, at some dimensions: what is measured above is what users get. */
static void one_hot_rows_through_the_codec(void **state) {
    (void)state;
    static const size_t dims[] = {32, 80, 128, 208};
    for (size_t d = 0; d < 4; d++) {
        for (unsigned bits = 2; bits <= 8; bits++) {
            size_t dim = dims[d];
            tq_codec codec = {.format = (tq_format)bits, .head_dim = (uint32_t)dim};
            tq_batch batch = {.heads = 1, .rows = 1};
            for (size_t hot = 0; hot < dim; hot++) {
                float x[256] = {0}, y[256];
                uint16_t norm;
                uint8_t codes[256];
                x[hot] = -3.0f;
                assert_int_equal(tq_encode(&codec, &batch, x, dim, NULL, 0, codes, 256, &norm, 2), TQ_OK);
                assert_int_equal(
                    tq_decode(&codec, &batch, TQ_ORIGINAL, codes, 256, &norm, 2, NULL, 0, y, dim), TQ_OK);
                assert_true(relative_error(dim, x, y) <= 2.0 * model_table[bits]);
            }
        }
    }
}

/* The rotation is public: a row whose image is one-hot is what no signs help against. README tells these.
 */
static void rows_built_against_the_rotation(void **state) {
    (void)state;
    static const struct {
        size_t dim;
        double times;
    } told[] = {{128, 24}, {256, 42}};
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
        const size_t dim = told[i].dim;
        const tq_codec codec = {.format = TQ_TQ4, .head_dim = (uint32_t)dim};
        const tq_batch batch = {.heads = 1, .rows = 1};
        float image[256] = {1}, x[256], y[256];
        uint16_t norm;
        uint8_t codes[256];
        assert_int_equal(tq_rotate(&codec, TQ_ORIGINAL, 1, image, x), TQ_OK);
        assert_int_equal(tq_encode(&codec, &batch, x, dim, NULL, 0, codes, 256, &norm, 2), TQ_OK);
        assert_int_equal(tq_decode(&codec, &batch, TQ_ORIGINAL, codes, 256, &norm, 2, NULL, 0, y, dim),
                         TQ_OK);
        const double times = relative_error(dim, x, y) / model_table[4];
        printf("  tq4, D = %zu: %.2f times the table's error\n", dim, times);
        assert_true(times >= told[i].times && times < told[i].times + 1);
    }
}

static void three_channels_thirty_fold(void **state) {
    (void)state;
    enum { ROWS = 200 };
    rng r = {40};
    printf("  three channels 30x, mean of %d rows: error over the table's, and mean kurtosis\n", ROWS);
    printf("     D     tq2     tq3     tq4     tq5     tq6     tq7     tq8   kurtosis\n");
    for (size_t dim = MODEL_FIRST_DIM; dim <= MODEL_MAX_DIM; dim += MODEL_DIM_STEP) {
        double mean[9] = {0}, mean_kurtosis = 0;
        for (size_t t = 0; t < ROWS; t++) {
            float x[MODEL_MAX_DIM], u[MODEL_MAX_DIM], q[MODEL_MAX_DIM];
            rng_gauss_fill(&r, x, dim);
            for (int k = 0; k < 3; k++)
                x[rng_below(&r, (uint32_t)dim)] *= 30.0f;
            rotated_unit(dim, x, u);
            mean_kurtosis += kurtosis(dim, u) / ROWS;
            for (unsigned bits = 2; bits <= 8; bits++) {
                assert_int_equal(tq_requantize((tq_format)bits, u, q, dim), TQ_OK);
                mean[bits] += relative_error(dim, u, q) / model_table[bits] / ROWS;
            }
        }
        printf("  %4zu", dim);
        for (unsigned bits = 2; bits <= 8; bits++) {
            printf("  %6.3f", mean[bits]);
            assert_true(mean[bits] <= 1.1);
        }
        printf("  %9.3f\n", mean_kurtosis);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_hot_rows), cmocka_unit_test(one_hot_rows_through_the_codec),
        cmocka_unit_test(rows_built_against_the_rotation), cmocka_unit_test(three_channels_thirty_fold)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
