/* SPDX-License-Identifier: MIT
 * The norm rules: what each of them promises. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "model.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/rng.h"

static void through(unsigned bits, size_t dim, tq_norm_rule rule, size_t rows, const float *x, float *y) {
    static uint8_t codes[16 * MODEL_MAX_DIM];
    static uint16_t norms[MODEL_MAX_DIM];
    tq_codec codec = {.format = (tq_format)bits, .head_dim = (uint32_t)dim, .norm_rule = rule};
    tq_batch batch = {.heads = 1, .rows = rows};
    assert_int_equal(
        tq_encode(&codec, &batch, x, rows * dim, NULL, 0, codes, sizeof codes, norms, sizeof norms),
        TQ_OK);
    assert_int_equal(tq_decode(&codec, &batch, TQ_ORIGINAL, codes, sizeof codes, norms, sizeof norms,
                               NULL, 0, y, rows * dim),
                     TQ_OK);
}

static double dot(size_t n, const float *a, const float *b) {
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        sum += (double)a[j] * (double)b[j];
    return sum;
}

/* Row by row, to half a step of float16: lengths under `matched`, <x^, x> = <x, x> under `unbiased`. */
static void promises_of_a_row(void **state) {
    (void)state;
    enum { ROWS = 6 };
    static float x[ROWS * MODEL_MAX_DIM], y[ROWS * MODEL_MAX_DIM];
    rng r = {50};
    double worst_matched = 0, worst_unbiased = 0;
    for (size_t dim = MODEL_FIRST_DIM; dim <= MODEL_MAX_DIM; dim += MODEL_DIM_STEP) {
        rng_gauss_fill(&r, x, ROWS * dim);
        for (size_t k = 0; k < 3; k++)
            x[rng_below(&r, (uint32_t)dim)] *= 30.0f;
        for (unsigned bits = 2; bits <= 8; bits++) {
            through(bits, dim, TQ_NORM_MATCHED, ROWS, x, y);
            for (size_t t = 0; t < ROWS; t++) {
                const float *a = x + t * dim, *b = y + t * dim;
                worst_matched = fmax(worst_matched, fabs(sqrt(dot(dim, b, b) / dot(dim, a, a)) - 1));
            }
            through(bits, dim, TQ_NORM_UNBIASED, ROWS, x, y);
            for (size_t t = 0; t < ROWS; t++) {
                const float *a = x + t * dim, *b = y + t * dim;
                worst_unbiased = fmax(worst_unbiased, fabs(dot(dim, a, b) / dot(dim, a, a) - 1));
            }
        }
    }
    printf("  worst relative error: length under matched %.1e, <x^,x> under unbiased %.1e\n",
           worst_matched, worst_unbiased);
    assert_true(worst_matched < 0x1p-11 + 1e-6 && worst_unbiased < 0x1p-11 + 1e-6);
}

typedef struct bias {
    double mean, standard_error;
} bias;

/* <q, x^> - <q, x> over |x|^2, for queries that lean towards the key: the product that attention takes.
 */
static bias inner_product_bias(unsigned bits, size_t dim, tq_norm_rule rule) {
    enum { BATCHES = 20, ROWS = 128 };
    static float x[ROWS * 128], y[ROWS * 128];
    double sum = 0, squares = 0, n = BATCHES * ROWS;
    rng r = {60 + bits};
    for (int batch = 0; batch < BATCHES; batch++) {
        rng_gauss_fill(&r, x, ROWS * dim);
        through(bits, dim, rule, ROWS, x, y);
        for (size_t t = 0; t < ROWS; t++) {
            double off = 0;
            const float *key = x + t * dim;
            for (size_t j = 0; j < dim; j++) {
                double query = (double)key[j] + 0.5 * rng_gauss(&r);
                off += query * ((double)y[t * dim + j] - (double)key[j]);
            }
            off /= dot(dim, key, key);
            sum += off;
            squares += off * off;
        }
    }
    double mean = sum / n;
    bias b = {mean, sqrt((squares / n - mean * mean) / n)};
    return b;
}

static void unbiased_where_plain_is_not(void **state) {
    (void)state;
    printf("  bias of <q,x^>/<x,x> at D 128, 2560 rows, and in standard errors\n");
    printf("  bits        plain            unbiased\n");
    for (unsigned bits = 2; bits <= 8; bits++) {
        bias plain = inner_product_bias(bits, 128, TQ_NORM_PLAIN);
        bias unbiased = inner_product_bias(bits, 128, TQ_NORM_UNBIASED);
        double plain_errors = plain.mean / plain.standard_error;
        double unbiased_errors = unbiased.mean / unbiased.standard_error;
        printf("  %4u  %+.2e %7.1f  %+.2e %5.1f\n", bits, plain.mean, plain_errors, unbiased.mean,
               unbiased_errors);
        assert_true(fabs(unbiased_errors) < 5);
        /* From 7 bits on the shrinkage of 1.6e-4 and less drowns in the noise of so few rows. */
        if (bits <= 6) assert_true(plain_errors < -5);
        if (bits <= 4) assert_true(fabs(plain.mean / -model_table[bits] - 1) < 0.1);
    }
}

/* The rule touches the norm alone, in the order of the definition: unbiased above matched above plain. */
static void codes_are_the_same_and_norms_ordered(void **state) {
    (void)state;
    for (size_t dim = MODEL_FIRST_DIM; dim <= MODEL_MAX_DIM; dim += 5 * MODEL_DIM_STEP) {
        for (unsigned bits = 2; bits <= 8; bits++) {
            float x[MODEL_MAX_DIM];
            uint16_t norm[4];
            uint8_t codes[4][MODEL_MAX_DIM];
            tq_batch one = {.heads = 1, .rows = 1};
            size_t bytes = dim * bits / 8;
            rng r = {dim + bits};
            rng_gauss_fill(&r, x, dim);
            for (int rule = TQ_NORM_DEFAULT; rule <= TQ_NORM_UNBIASED; rule++) {
                tq_codec codec = {.format = (tq_format)bits,
                                  .head_dim = (uint32_t)dim,
                                  .norm_rule = (tq_norm_rule)rule};
                assert_int_equal(
                    tq_encode(&codec, &one, x, dim, NULL, 0, codes[rule], bytes, &norm[rule], 2), TQ_OK);
            }
            for (int rule = TQ_NORM_PLAIN; rule <= TQ_NORM_UNBIASED; rule++)
                assert_memory_equal(codes[TQ_NORM_DEFAULT], codes[rule], bytes);
            /* <x,x> = <x^,x> and Cauchy-Schwarz: an unbiased x^ is at least as long as a matched one. */
            assert_true(norm[TQ_NORM_UNBIASED] >= norm[TQ_NORM_MATCHED]);
            const double length = sqrt(dot(dim, x, x)),
                         plain = (double)model_half_value(norm[TQ_NORM_PLAIN]);
            assert_true(fabs(plain / length - 1) < 0x1p-11 + 1e-6);
            assert_memory_equal(&norm[TQ_NORM_DEFAULT], &norm[TQ_NORM_MATCHED], sizeof norm[0]);
        }
    }
}

/* A codec that says nothing of its rule has the one that docs/choosing.md chose, v1 its only one. */
static void defaults_and_names(void **state) {
    (void)state;
    size_t n;
    const tq_format *formats = tq_formats(&n);
    for (size_t i = 0; i < n; i++) {
        const bool v1 = strstr(tq_format_name(formats[i]), "-v1") != NULL;
        const tq_codec zero = {.format = formats[i]};
        assert_int_equal(tq_norm_rule_of(zero.format, zero.norm_rule),
                         v1 ? TQ_NORM_PLAIN : TQ_NORM_MATCHED);
        for (int rule = TQ_NORM_PLAIN; rule <= TQ_NORM_UNBIASED; rule++)
            assert_int_equal(tq_norm_rule_of(formats[i], (tq_norm_rule)rule), rule);
    }
    assert_int_equal(tq_norm_rule_of((tq_format)9, TQ_NORM_DEFAULT), TQ_NORM_DEFAULT);
    assert_int_equal(tq_norm_rule_of(TQ_TQ4, (tq_norm_rule)4), 4);

    for (int rule = TQ_NORM_PLAIN; rule <= TQ_NORM_UNBIASED; rule++) {
        tq_norm_rule back = TQ_NORM_DEFAULT;
        assert_int_equal(tq_norm_rule_from_name(tq_norm_rule_name((tq_norm_rule)rule), &back), TQ_OK);
        assert_int_equal(back, rule);
    }
    assert_null(tq_norm_rule_name(TQ_NORM_DEFAULT));
    assert_null(tq_norm_rule_name((tq_norm_rule)4));
    assert_null(tq_norm_rule_name((tq_norm_rule)-1));
    static const char *const wrong[] = {"", "default", "Plain", "plain "};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tq_norm_rule rule = TQ_NORM_UNBIASED;
        assert_int_equal(tq_norm_rule_from_name(wrong[i], &rule), TQ_E_NORM_RULE);
        assert_int_equal(rule, TQ_NORM_UNBIASED);
        assert_non_null(strstr(tq_last_error()->message, "plain, matched and unbiased"));
    }
    tq_norm_rule rule;
    assert_int_equal(tq_norm_rule_from_name(NULL, &rule), TQ_E_NULL);
    assert_int_equal(tq_norm_rule_from_name("plain", NULL), TQ_E_NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(defaults_and_names),
                                       cmocka_unit_test(promises_of_a_row),
                                       cmocka_unit_test(unbiased_where_plain_is_not),
                                       cmocka_unit_test(codes_are_the_same_and_norms_ordered)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
