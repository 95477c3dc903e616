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

static uint16_t encode(unsigned bits, int rule, const float *x, uint8_t *codes) {
    tq_codec codec = {.format = (tq_format)bits, .head_dim = D, .norm_rule = (tq_norm_rule)rule};
    uint16_t norm = 0xffff;
    assert_int_equal(tq_encode(&codec, &one, x, D, NULL, 0, codes, D * bits / 8, &norm, sizeof norm),
                     TQ_OK);
    return norm;
}

static void decode(unsigned bits, int original, uint16_t norm, const uint8_t *codes, float *y) {
    tq_codec codec = {.format = (tq_format)bits, .head_dim = D};
    tq_domain domain = original ? TQ_ORIGINAL : TQ_ROTATED;
    assert_int_equal(
        tq_decode(&codec, &one, domain, codes, D * bits / 8, &norm, sizeof norm, NULL, 0, y, D), TQ_OK);
}

/* Rows too short to have a direction in float32, or a norm in float16: norm 0, codes of zero, decoded to
 * zeros.
 */
static void check_vanishes(const float *x) {
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (int rule = TQ_NORM_PLAIN; rule <= TQ_NORM_UNBIASED; rule++) {
            uint8_t codes[D], none[D] = {0};
            float y[D];
            uint16_t norm = encode(bits, rule, x, codes);
            assert_int_equal(norm, 0);
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
    static const float values[] = {0.0f, -0.0f, 0x1p-149f, -0x1p-149f, 1e-40f, 9e-21f, 1e-9f};
    for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
        for (size_t j = 0; j < D; j++)
            x[j] = j % 3 == 0 ? values[v] : -values[v];
        check_vanishes(x);
    }
    memset(x, 0, sizeof x);
    x[5] = 1.08e-19f; /* its square is just below FLT_MIN, 1.175e-38 */
    check_vanishes(x);
}

/* A power of two in front changes the norm by that factor and no code, as long as float16 has all digits.
 */
static void scaling_by_powers_of_two_is_exact(void **state) {
    (void)state;
    float x[D], scaled[D];
    rng r = {90};
    rng_gauss_fill(&r, x, D);
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (int rule = TQ_NORM_PLAIN; rule <= TQ_NORM_UNBIASED; rule++) {
            uint8_t want[D], got[D];
            uint16_t norm = encode(bits, rule, x, want);
            for (int power = -17; power <= 12; power++) {
                for (size_t j = 0; j < D; j++)
                    scaled[j] = ldexpf(x[j], power);
                assert_int_equal(encode(bits, rule, scaled, got), norm + power * 1024);
                assert_memory_equal(want, got, D * bits / 8);
            }
        }
    }
}

static void magnitudes(void **state) {
    (void)state;
    for (int power = -5; power <= 3; power++) {
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

/* v1 keeps its norms in float32, and so takes all values up to the limit. */
static void the_limit_is_accepted(void **state) {
    (void)state;
    for (uint32_t dim = 256; dim <= 512; dim += 256) {
        tq_codec codec = {.format = TQ_TQ4_V1, .head_dim = dim, .scale_factor_d512 = 1};
        float x[512], y[512], norms[2] = {0};
        uint8_t codes[256];
        for (size_t j = 0; j < dim; j++)
            x[j] = j % 3 == 0 ? -TQ_MAX_ABS : TQ_MAX_ABS;
        assert_int_equal(tq_encode(&codec, &one, x, dim, NULL, 0, codes, dim / 2, norms, dim / 64),
                         TQ_OK);
        assert_true(isfinite(norms[0]) && isfinite(norms[1]));
        assert_int_equal(
            tq_decode(&codec, &one, TQ_ORIGINAL, codes, dim / 2, norms, dim / 64, NULL, 0, y, dim),
            TQ_OK);
        for (size_t j = 0; j < dim; j++)
            assert_true(isfinite(y[j]));
    }
}

typedef struct fault {
    float value;
    tq_status status;
} fault;

enum { HEADS = 2, ROWS = 3, STRIDE = D + 5, LENGTH = HEADS * ROWS * STRIDE };
static const tq_batch gaps = {.heads = HEADS, .rows = ROWS, .dense_row_stride = STRIDE};

typedef struct outcome {
    uint8_t codes[HEADS * ROWS * D];
    uint16_t norms[HEADS * ROWS];
} outcome;

static tq_status encode_all(unsigned bits, const float *x, const uint16_t *centre, outcome *out) {
    tq_codec codec = {.format = (tq_format)bits, .head_dim = D};
    memset(out, 0xA5, sizeof *out);
    return tq_encode(&codec, &gaps, x, LENGTH, centre, HEADS * D, out->codes, sizeof out->codes,
                     out->norms, sizeof out->norms);
}

/* The vector at fault is left as it was, codes and norm; others may have been written. */
static void assert_row_untouched(const outcome *out, size_t row, unsigned bits) {
    for (size_t i = 0; i < D * bits / 8; i++)
        assert_int_equal(out->codes[row * D * bits / 8 + i], 0xA5);
    assert_int_equal(out->norms[row], 0xA5A5);
}

/* Wherever the bad value lies, in a batch with gaps: its index counts from src, gaps included. */
static void faults_are_named_by_index(void **state) {
    (void)state;
    const fault faults[] = {
        {NAN, TQ_E_NOT_FINITE},          {INFINITY, TQ_E_NOT_FINITE},
        {-INFINITY, TQ_E_NOT_FINITE},    {nextafterf(TQ_MAX_ABS, INFINITY), TQ_E_RANGE},
        {1.5f * TQ_MAX_ABS, TQ_E_RANGE}, {-FLT_MAX, TQ_E_RANGE}};
    const uint16_t centre[HEADS * D] = {0x3c00};
    float x[LENGTH];
    outcome out;
    for (size_t i = 0; i < LENGTH; i++)
        x[i] = i % STRIDE < D ? 1.0f : NAN; /* gaps are not read */
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
        for (unsigned bits = 2; bits <= 8; bits += 3) {
            for (size_t i = 0; i < LENGTH; i += 13) {
                if (i % STRIDE >= D) continue;
                x[i] = faults[f].value;
                assert_int_equal(encode_all(bits, x, i % 2 == 0 ? centre : NULL, &out), faults[f].status);
                assert_string_equal(tq_last_error()->field, "src");
                assert_int_equal(tq_last_error()->index, i);
                assert_row_untouched(&out, i / STRIDE, bits);
                x[i] = 1.0f;
            }
        }
    }
    assert_int_equal(encode_all(2, x, centre, &out), TQ_OK);
}

static void centres_are_finite(void **state) {
    (void)state;
    static const uint16_t bad[] = {0x7c00, 0xfc00, 0x7c01, 0x7e00, 0xffff};
    uint16_t centre[HEADS * D] = {0};
    float x[LENGTH] = {0};
    outcome out;
    for (size_t b = 0; b < sizeof bad / sizeof bad[0]; b++) {
        for (size_t i = 0; i < HEADS * D; i += 9) {
            centre[i] = bad[b];
            assert_int_equal(encode_all(4, x, centre, &out), TQ_E_NOT_FINITE);
            assert_string_equal(tq_last_error()->field, "centre");
            assert_int_equal(tq_last_error()->index, i);
            for (size_t row = 0; row < HEADS * ROWS; row++) /* found before anything is written */
                assert_row_untouched(&out, row, 4);
            centre[i] = 0;
        }
        memset(centre, 0, sizeof centre);
    }
}

/* Decoders take norms as they are: a cache that holds a NaN shows it instead of hiding it. */
static void decoders_pass_norms_on(void **state) {
    (void)state;
    /* zeros, the smallest, -2.5, the largest, infinity, NaN */
    static const uint16_t norms[] = {0, 0x8000, 1, 0xc100, 0x7bff, 0x7c00, 0x7e00};
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
        cmocka_unit_test(centres_are_finite),
        cmocka_unit_test(decoders_pass_norms_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
