/* SPDX-License-Identifier: MIT
 * Values at the ends of float32: zeros, denormals, magnitudes, the limit, and what is refused with its
 * index. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "model.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/rng.h"

enum { D = 112 };
static const tq_batch one = {.heads = 1, .rows = 1};

static float encode(unsigned bits, int rule, const float *x, uint8_t *codes) {
    tq_codec codec = {.format = (tq_format)bits, .head_dim = D, .norm_rule = (tq_norm_rule)rule};
    float norm = -1;
    assert_int_equal(tq_encode(&codec, &one, x, D, NULL, codes, D * bits / 8, &norm, 1), TQ_OK);
    return norm;
}

static void decode(unsigned bits, int original, float norm, const uint8_t *codes, float *y) {
    tq_codec codec = {.format = (tq_format)bits, .head_dim = D};
    tq_domain domain = original ? TQ_ORIGINAL : TQ_ROTATED;
    assert_int_equal(tq_decode(&codec, &one, domain, codes, D * bits / 8, &norm, 1, NULL, y, D), TQ_OK);
}

/* Rows too short to have a direction in float32: norm 0, codes of zero, decoded to zeros. */
static void check_vanishes(const float *x) {
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (int rule = TQ_NORM_PLAIN; rule <= TQ_NORM_UNBIASED; rule++) {
            uint8_t codes[D], none[D] = {0};
            float y[D], norm = encode(bits, rule, x, codes);
            assert_true(norm == 0.0f && !signbit(norm));
            assert_memory_equal(codes, none, D * bits / 8);
            for (int original = 0; original < 2; original++) {
                decode(bits, original, norm, codes, y);
                for (size_t j = 0; j < D; j++)
                    assert_true(y[j] == 0.0f);
            }
        }
    }
}

static void zero_rows(void **state) {
    (void)state;
    float x[D];
    static const float values[] = {0.0f, -0.0f, 0x1p-149f, -0x1p-149f, 1e-40f, 9e-21f};
    for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
        for (size_t j = 0; j < D; j++)
            x[j] = j % 3 == 0 ? values[v] : -values[v];
        check_vanishes(x);
    }
    memset(x, 0, sizeof x);
    x[5] = 1.08e-19f; /* its square is just below FLT_MIN, 1.175e-38 */
    check_vanishes(x);
}

/* A power of two in front changes the norm by that factor and no code. */
static void scaling_by_powers_of_two_is_exact(void **state) {
    (void)state;
    float x[D], scaled[D];
    rng r = {90};
    rng_gauss_fill(&r, x, D);
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (int rule = TQ_NORM_PLAIN; rule <= TQ_NORM_UNBIASED; rule++) {
            uint8_t want[D], got[D];
            float norm = encode(bits, rule, x, want);
            for (int power = -48; power <= 54; power += 6) {
                for (size_t j = 0; j < D; j++)
                    scaled[j] = ldexpf(x[j], power);
                float scaled_norm = encode(bits, rule, scaled, got);
                assert_true(scaled_norm == ldexpf(norm, power));
                assert_memory_equal(want, got, D * bits / 8);
            }
        }
    }
}

static void magnitudes(void **state) {
    (void)state;
    for (int power = -18; power <= 15; power++) {
        float x[D], y[D], factor = (float)pow(10, power);
        rng r = {100};
        for (size_t j = 0; j < D; j++)
            x[j] = factor * (float)rng_gauss(&r);
        for (unsigned bits = 2; bits <= 8; bits++) {
            uint8_t codes[D];
            double off = 0, all = 0;
            decode(bits, 1, encode(bits, TQ_NORM_PLAIN, x, codes), codes, y);
            for (size_t j = 0; j < D; j++) {
                double a = (double)x[j] / (double)factor, b = (double)y[j] / (double)factor;
                off += (a - b) * (a - b);
                all += a * a;
            }
            assert_true(off / all < 2 * model_table[bits]);
        }
    }
}

static void the_limit_is_accepted(void **state) {
    (void)state;
    static float x[MODEL_MAX_DIM], centre[MODEL_MAX_DIM], y[MODEL_MAX_DIM];
    static uint8_t codes[MODEL_MAX_DIM];
    for (size_t dim = MODEL_FIRST_DIM; dim <= MODEL_MAX_DIM; dim += 2 * MODEL_DIM_STEP) {
        for (int rule = TQ_NORM_PLAIN; rule <= TQ_NORM_UNBIASED; rule++) {
            tq_codec codec = {
                .format = TQ_TQ4, .head_dim = (uint32_t)dim, .norm_rule = (tq_norm_rule)rule};
            float norm;
            /* Signs that undo the flips put all of it into as few coordinates as the rotation can. */
            for (size_t j = 0; j < dim; j++) {
                x[j] = model_sign(j) ? -TQ_MAX_ABS : TQ_MAX_ABS;
                centre[j] = -x[j];
            }
            assert_int_equal(tq_encode(&codec, &one, x, dim, centre, codes, dim / 2, &norm, 1), TQ_OK);
            assert_true(isfinite(norm));
            assert_int_equal(
                tq_decode(&codec, &one, TQ_ORIGINAL, codes, dim / 2, &norm, 1, centre, y, dim), TQ_OK);
            for (size_t j = 0; j < dim; j++)
                assert_true(isfinite(y[j]));
        }
    }
}

typedef struct fault {
    float value;
    tq_status status;
} fault;

/* The vector at fault is left as it was, codes and norm; others may have been written. */
static void assert_row_untouched(const uint8_t *codes, const float *norms, size_t row, unsigned bits) {
    for (size_t i = 0; i < D * bits / 8; i++)
        assert_int_equal(codes[row * D * bits / 8 + i], 0xA5);
    assert_true(norms[row] == -7.0f);
}

/* Wherever the bad value lies, in a batch with gaps: its index counts from src, gaps included. */
static void faults_are_named_by_index(void **state) {
    (void)state;
    enum { HEADS = 2, ROWS = 3, STRIDE = D + 5 };
    /* A centre close to it must not hide a value beyond the limit. */
    const fault faults[] = {
        {NAN, TQ_E_NOT_FINITE},          {INFINITY, TQ_E_NOT_FINITE},
        {-INFINITY, TQ_E_NOT_FINITE},    {nextafterf(TQ_MAX_ABS, INFINITY), TQ_E_RANGE},
        {1.5f * TQ_MAX_ABS, TQ_E_RANGE}, {-FLT_MAX, TQ_E_RANGE}};
    tq_batch batch = {.heads = HEADS, .rows = ROWS, .dense_row_stride = STRIDE};
    float x[HEADS * ROWS * STRIDE], centre[HEADS * D] = {0};
    uint8_t codes[HEADS * ROWS * D];
    float norms[HEADS * ROWS];
    for (size_t i = 0; i < sizeof x / sizeof x[0]; i++)
        x[i] = i % STRIDE < D ? 1.0f : NAN; /* gaps are not read */
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
        for (unsigned bits = 2; bits <= 8; bits += 3) {
            tq_codec codec = {.format = (tq_format)bits, .head_dim = D};
            for (size_t i = 0; i < HEADS * ROWS * STRIDE; i += 13) {
                if (i % STRIDE >= D) continue;
                x[i] = faults[f].value;
                const size_t hidden = i / (ROWS * STRIDE) * D + i % STRIDE;
                centre[hidden] = faults[f].status == TQ_E_RANGE ? copysignf(TQ_MAX_ABS, x[i]) : 0.0f;
                memset(codes, 0xA5, sizeof codes);
                for (size_t row = 0; row < HEADS * ROWS; row++)
                    norms[row] = -7.0f;
                assert_int_equal(tq_encode(&codec, &batch, x, sizeof x / sizeof x[0],
                                           i % 2 == 0 ? centre : NULL, codes, sizeof codes, norms,
                                           HEADS * ROWS),
                                 faults[f].status);
                assert_string_equal(tq_last_error()->field, "src");
                assert_int_equal(tq_last_error()->index, i);
                assert_row_untouched(codes, norms, i / STRIDE, bits);
                x[i] = 1.0f;
                centre[hidden] = 0.0f;
            }
            for (size_t i = 0; i < HEADS * D; i += 9) {
                centre[i] = faults[f].value;
                memset(codes, 0xA5, sizeof codes);
                for (size_t row = 0; row < HEADS * ROWS; row++)
                    norms[row] = -7.0f;
                assert_int_equal(tq_encode(&codec, &batch, x, sizeof x / sizeof x[0], centre, codes,
                                           sizeof codes, norms, HEADS * ROWS),
                                 faults[f].status);
                assert_string_equal(tq_last_error()->field, "centre");
                assert_int_equal(tq_last_error()->index, i);
                for (size_t row = 0; row < HEADS * ROWS; row++) /* found before anything is written */
                    assert_row_untouched(codes, norms, row, bits);
                centre[i] = 0.0f;
            }
        }
    }
    tq_codec codec = {.format = TQ_TQ2, .head_dim = D};
    assert_int_equal(tq_encode(&codec, &batch, x, sizeof x / sizeof x[0], centre, codes, sizeof codes,
                               norms, HEADS * ROWS),
                     TQ_OK);
}

/* Decoders take norms as they are: a cache that holds a NaN shows it instead of hiding it. */
static void decoders_pass_norms_on(void **state) {
    (void)state;
    static const float norms[] = {0.0f, -0.0f, 0x1p-149f, -2.5f, FLT_MAX, INFINITY, NAN};
    uint8_t packed[D], codes[D];
    rng r = {110};
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (size_t j = 0; j < D; j++)
            codes[j] = (uint8_t)rng_below(&r, 1U << bits);
        model_pack(bits, D, codes, packed);
        for (size_t n = 0; n < sizeof norms / sizeof norms[0]; n++) {
            float got[D], want[D];
            for (int original = 0; original < 2; original++) {
                decode(bits, original, norms[n], packed, got);
                model_decode(bits, D, original ? TQ_ORIGINAL : TQ_ROTATED, codes, norms[n], NULL, want);
                assert_same_floats(got, want, D, "decoded with that norm");
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_rows),
        cmocka_unit_test(scaling_by_powers_of_two_is_exact),
        cmocka_unit_test(magnitudes),
        cmocka_unit_test(the_limit_is_accepted),
        cmocka_unit_test(faults_are_named_by_index),
        cmocka_unit_test(decoders_pass_norms_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
