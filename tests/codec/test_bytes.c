/* SPDX-License-Identifier: MIT
 * Every v2 format at every head dimension: codes, norms and decoded values equal to the model's, bit by
 * bit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/rng.h"

enum { ROWS = 6 };

/* Rows of several natures: one Gaussian, one with outliers, one sparse, one constant, one so short that
 * its norm is subnormal at most dimensions. The last one's first pair cancels at all even coordinates and
 * leaves a value there that scaling to unit variance makes vanish: zeros of both signs, whose sign bit is
 * part of the code. */
static void fill_rows(rng *r, size_t dim, float *x) {
    rng_gauss_fill(r, x, ROWS * dim);
    for (size_t k = 0; k < 3; k++)
        x[dim + rng_below(r, (uint32_t)dim)] *= 30.0f;
    for (size_t j = 0; j < dim; j++) {
        if (j % 11 != 3) x[2 * dim + j] = 0.0f;
        x[3 * dim + j] = -0.625f;
        x[4 * dim + j] *= 3.7e-6f;
        x[5 * dim + j] = 0.0f;
    }
    x[5 * dim] = model_sign(0) ? -0x1p12f : 0x1p12f;
    x[5 * dim + 1] = model_sign(1) ? 0x1p13f : -0x1p13f;
    x[5 * dim + 2] = 0x1p-140f;
}

static void check_encoded(const tq_codec *codec, const float *x, const uint16_t *centre, uint8_t *codes,
                          uint8_t *packed, uint16_t *norms) {
    unsigned bits = tq_format_bits(codec->format);
    size_t dim = codec->head_dim, row_bytes = dim * bits / 8;
    tq_batch batch = {.heads = 1, .rows = ROWS};
    uint8_t want[MODEL_MAX_DIM];
    assert_int_equal(
        tq_encode(codec, &batch, x, ROWS * dim, centre, dim, packed, ROWS * row_bytes, norms, 2 * ROWS),
        TQ_OK);
    for (size_t t = 0; t < ROWS; t++) {
        float norm = model_encode(bits, dim, codec->norm_rule, x + t * dim, centre, codes + t * dim);
        assert_int_equal(norms[t], model_half((double)norm));
        model_pack(bits, dim, codes + t * dim, want);
        if (memcmp(want, packed + t * row_bytes, row_bytes) != 0) {
            fail_msg("tq%u, D %zu, rule %d, row %zu: codes differ from the model's", bits, dim,
                     (int)codec->norm_rule, t);
        }
    }
}

static void check_decoded(const tq_codec *codec, const uint8_t *codes, const uint8_t *packed,
                          const uint16_t *norms, const uint16_t *centre) {
    unsigned bits = tq_format_bits(codec->format);
    size_t dim = codec->head_dim;
    tq_batch batch = {.heads = 1, .rows = ROWS};
    static float got[ROWS * MODEL_MAX_DIM], want[MODEL_MAX_DIM];
    for (int original = 0; original < 2; original++) {
        tq_domain domain = original ? TQ_ORIGINAL : TQ_ROTATED;
        assert_int_equal(tq_decode(codec, &batch, domain, packed, ROWS * dim * bits / 8, norms, 2 * ROWS,
                                   centre, dim, got, ROWS * dim),
                         TQ_OK);
        for (size_t t = 0; t < ROWS; t++) {
            model_decode(bits, dim, domain, codes + t * dim, norms[t], centre, want);
            assert_same_floats(got + t * dim, want, dim, original ? "original" : "rotated");
        }
    }
}

static void check_format(unsigned bits, size_t dim, const float *x, const uint16_t *centre) {
    static uint8_t codes[ROWS * MODEL_MAX_DIM], packed[ROWS * MODEL_MAX_DIM];
    uint16_t norms[ROWS];
    for (int rule = TQ_NORM_PLAIN; rule <= TQ_NORM_UNBIASED; rule++) {
        tq_codec codec = {
            .format = (tq_format)bits, .head_dim = (uint32_t)dim, .norm_rule = (tq_norm_rule)rule};
        check_encoded(&codec, x, NULL, codes, packed, norms);
    }
    tq_codec codec = {
        .format = (tq_format)bits, .head_dim = (uint32_t)dim, .norm_rule = TQ_NORM_UNBIASED};
    check_decoded(&codec, codes, packed, norms, NULL);
    check_encoded(&codec, x, centre, codes, packed, norms);
    check_decoded(&codec, codes, packed, norms, centre);
}

static void every_format_at_every_dimension(void **state) {
    (void)state;
    static float x[ROWS * MODEL_MAX_DIM];
    static uint16_t centre[MODEL_MAX_DIM];
    rng r = {2};
    size_t checked = 0;
    for (size_t dim = MODEL_FIRST_DIM; dim <= MODEL_MAX_DIM; dim += MODEL_DIM_STEP) {
        fill_rows(&r, dim, x);
        for (size_t j = 0; j < dim; j++)
            centre[j] = model_half(rng_gauss(&r));
        for (unsigned bits = 2; bits <= 8; bits++, checked++)
            check_format(bits, dim, x, centre);
    }
    assert_int_equal(checked, 63 * 7);
    printf("  %zu pairs of format and dimension, 4 encodings and 4 decodings of %d rows each\n", checked,
           ROWS);
}

static void every_rotation(void **state) {
    (void)state;
    static float x[ROWS * MODEL_MAX_DIM], got[ROWS * MODEL_MAX_DIM], want[MODEL_MAX_DIM];
    rng r = {3};
    for (size_t dim = MODEL_FIRST_DIM; dim <= MODEL_MAX_DIM; dim += MODEL_DIM_STEP) {
        fill_rows(&r, dim, x);
        for (int to = 0; to < 2; to++) {
            tq_codec codec = {.format = TQ_TQ4, .head_dim = (uint32_t)dim};
            assert_int_equal(tq_rotate(&codec, (tq_domain)to, ROWS, x, got), TQ_OK);
            for (size_t t = 0; t < ROWS; t++) {
                model_rotate((tq_domain)to, dim, x + t * dim, want);
                assert_same_floats(got + t * dim, want, dim, "rotated");
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_rotation),
                                       cmocka_unit_test(every_format_at_every_dimension)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
