/* SPDX-License-Identifier: MIT
 * Norms of v2 as float16 has them: rounded to nearest, to even between two, down to nothing and up to the
 * last one, at every level; and what that costs. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/levels.h"
#include "support/rng.h"

enum { D = 32 };

/* A vector of which the rule makes exactly that norm. Scaling by neighbouring float32 numbers leaves out
 * some norms: then another vector is tried. */
static void vector_of(unsigned bits, tq_norm_rule rule, float norm, rng *r, float *x) {
    float unit[D];
    uint8_t codes[D];
    for (int attempt = 0; attempt < 200; attempt++) {
        rng_gauss_fill(r, unit, D);
        float scale = (float)((double)norm / (double)model_encode(bits, D, rule, unit, NULL, codes));
        for (int i = 0; i < 20; i++)
            scale = nextafterf(scale, 0);
        for (int i = 0; i < 40; i++) {
            for (size_t j = 0; j < D; j++)
                x[j] = unit[j] * scale;
            if (model_encode(bits, D, rule, x, NULL, codes) == norm) return;
            scale = nextafterf(scale, INFINITY);
        }
    }
    fail_msg("no vector of norm %a found", (double)norm);
}

/* Between neighbours of float16, on both sides of the middle and on it; even numbers below and odd ones.
 */
static size_t norms_to_try(float *norms) {
    static const uint16_t below[] = {0x0000, 0x0001, 0x0002, 0x01ff, 0x0200, 0x03fe, 0x03ff,
                                     0x0400, 0x0401, 0x07ff, 0x0800, 0x3bff, 0x3c00, 0x3c01,
                                     0x4a55, 0x4a56, 0x77ff, 0x7800, 0x7bfd, 0x7bfe};
    size_t n = 0;
    for (size_t i = 0; i < sizeof below / sizeof below[0]; i++) {
        const float down = model_half_value(below[i]), up = model_half_value((uint16_t)(below[i] + 1));
        const float middle = down + (up - down) / 2; /* exact */
        if (down > 0) norms[n++] = down;
        norms[n++] = nextafterf(middle, 0);
        norms[n++] = middle;
        norms[n++] = nextafterf(middle, INFINITY);
        norms[n++] = nextafterf(up, 0);
    }
    norms[n++] = 65504;
    return n;
}

enum { MOST_NORMS = 128 };

static void check_norms_of(unsigned bits, tq_norm_rule rule) {
    float norms[MOST_NORMS], x[MOST_NORMS * D], want[D], got[MOST_NORMS * D];
    uint16_t stored[MOST_NORMS];
    uint8_t codes[MOST_NORMS * D], unpacked[D], packed[D];
    const size_t n = norms_to_try(norms), bytes = D * bits / 8;
    const tq_codec codec = {.format = (tq_format)bits, .head_dim = D, .norm_rule = rule};
    const tq_batch batch = {.heads = 1, .rows = n};
    rng r = {10 * bits + (unsigned)rule};
    for (size_t i = 0; i < n; i++)
        vector_of(bits, rule, norms[i], &r, x + i * D);
    assert_int_equal(tq_encode(&codec, &batch, x, n * D, NULL, 0, codes, n * bytes, stored, 2 * n),
                     TQ_OK);
    assert_int_equal(
        tq_decode(&codec, &batch, TQ_ORIGINAL, codes, n * bytes, stored, 2 * n, NULL, 0, got, n * D),
        TQ_OK);
    for (size_t i = 0; i < n; i++) {
        const uint16_t half = model_half((double)norms[i]);
        model_encode(bits, D, rule, x + i * D, NULL, unpacked);
        model_pack(bits, D, unpacked, packed);
        if (stored[i] != half)
            fail_msg("tq%u, rule %d: norm %a is stored as 0x%04x, not 0x%04x", bits, (int)rule,
                     (double)norms[i], stored[i], half);
        assert_memory_equal(codes + i * bytes, packed, bytes);
        for (size_t j = 0; j < bytes && half == 0; j++)
            assert_int_equal(packed[j], 0);
        model_decode(bits, D, TQ_ORIGINAL, unpacked, half, NULL, want);
        assert_same_floats(got + i * D, want, D, "decoded");
    }
}

static void check_all_norms(void) {
    for (unsigned bits = 2; bits <= 8; bits++)
        for (int rule = TQ_NORM_PLAIN; rule <= TQ_NORM_UNBIASED; rule++)
            check_norms_of(bits, (tq_norm_rule)rule);
}

/* The model's rounding against what is known of float16 without it. */
static void the_model_rounds(void **state) {
    (void)state;
    assert_int_equal(model_half(0x1p-25), 0);
    assert_int_equal(model_half(nextafter(0x1p-25, 1)), 1);
    assert_int_equal(model_half(0x1.8p-24), 2);
    assert_int_equal(model_half(0x1p-14), 0x0400);
    assert_int_equal(model_half(1), 0x3c00);
    assert_int_equal(model_half(-2), 0xc000);
    assert_int_equal(model_half(1 + 0x1p-11), 0x3c00);
    assert_int_equal(model_half(1 + 0x1.8p-10), 0x3c02);
    assert_int_equal(model_half(65504), 0x7bff);
    assert_int_equal(model_half(65488), 0x7bfe); /* between 65472, which is even, and 65504 */
    for (unsigned h = 0; h < 0x7c00; h++)
        assert_int_equal(model_half((double)model_half_value((uint16_t)h)), h);
}

static void norms_are_rounded_to_nearest_even(void **state) {
    (void)state;
    at_every_level(check_all_norms);
}

/* A batch over several pieces, with gaps, in which some vectors are too long. */
enum { HEADS = 2, ROWS = 150, STRIDE = D + 3, LENGTH = HEADS * ROWS * STRIDE };

typedef struct scene {
    tq_codec codec;
    float good[LENGTH], x[LENGTH];
    uint8_t want_codes[HEADS * ROWS][D], codes[HEADS * ROWS * D];
    uint16_t want_norms[HEADS * ROWS], norms[HEADS * ROWS];
    size_t bytes;
} scene;

static scene scene_of(unsigned bits, tq_norm_rule rule) {
    scene s = {.codec = {.format = (tq_format)bits, .head_dim = D, .norm_rule = rule},
               .bytes = D * bits / 8};
    uint8_t codes[D];
    rng r = {bits};
    rng_gauss_fill(&r, s.good, LENGTH);
    for (size_t i = 0; i < HEADS * ROWS; i++) {
        s.want_norms[i] =
            model_half((double)model_encode(bits, D, rule, s.good + i * STRIDE, NULL, codes));
        model_pack(bits, D, codes, s.want_codes[i]);
    }
    memcpy(s.x, s.good, sizeof s.x);
    return s;
}

static tq_status encode_scene(scene *s) {
    const tq_batch batch = {.heads = HEADS, .rows = ROWS, .dense_row_stride = STRIDE};
    memset(s->codes, 0xA5, sizeof s->codes);
    memset(s->norms, 0xA5, sizeof s->norms);
    return tq_encode(&s->codec, &batch, s->x, LENGTH, NULL, 0, s->codes, HEADS * ROWS * s->bytes,
                     s->norms, sizeof s->norms);
}

/* Refused at that index. The row's norm is as it was; others are as they were, or right. */
static void refused_at(scene *s, tq_status status, size_t index) {
    uint8_t untouched[D];
    memset(untouched, 0xA5, D);
    assert_int_equal(encode_scene(s), status);
    assert_string_equal(tq_last_error()->field, "src");
    assert_int_equal(tq_last_error()->index, index);
    assert_int_equal(s->norms[index / STRIDE], 0xA5A5);
    for (size_t i = 0; i < HEADS * ROWS; i++) {
        const uint8_t *codes = s->codes + i * s->bytes;
        if (memcmp(s->x + i * STRIDE, s->good + i * STRIDE, D * sizeof(float)) != 0) {
            assert_int_equal(s->norms[i], 0xA5A5); /* at fault too, though not named */
            continue;
        }
        assert_true(s->norms[i] == 0xA5A5 || s->norms[i] == s->want_norms[i]);
        assert_true(memcmp(codes, untouched, s->bytes) == 0 ||
                    memcmp(codes, s->want_codes[i], s->bytes) == 0);
        if (s->norms[i] != 0xA5A5) assert_memory_equal(codes, s->want_codes[i], s->bytes);
    }
}

static void spoil(scene *s, size_t row, float norm) {
    rng r = {row};
    const tq_norm_rule rule = s->codec.norm_rule;
    vector_of(s->codec.format, rule, norm, &r, s->x + row * STRIDE);
}

static void check_long_vectors_of(unsigned bits, tq_norm_rule rule) {
    static const size_t rows[] = {0, 1, 63, 64, 149, 150, 299};
    static scene s;
    s = scene_of(bits, rule);
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        spoil(&s, rows[k], nextafterf(65504, INFINITY));
        refused_at(&s, TQ_E_RANGE, rows[k] * STRIDE);
        assert_non_null(strstr(tq_last_error()->message, "norm"));
        memcpy(s.x, s.good, sizeof s.x);
    }
    /* 65520 would be rounded to infinity; what comes before it to 65504, but is above it */
    const float longer[] = {65519.99f, 65520, 1e6f, 0x1p40f};
    for (size_t k = 0; k < sizeof longer / sizeof longer[0]; k++) {
        spoil(&s, 70, longer[k]);
        refused_at(&s, TQ_E_RANGE, 70 * STRIDE);
    }
    s.x[75 * STRIDE + 3] = NAN; /* later in the same batch */
    refused_at(&s, TQ_E_RANGE, 70 * STRIDE);
    s.x[69 * STRIDE + 31] = -INFINITY; /* and before */
    refused_at(&s, TQ_E_NOT_FINITE, 69 * STRIDE + 31);
    memcpy(s.x, s.good, sizeof s.x);
    spoil(&s, 70, 65504);
    assert_int_equal(encode_scene(&s), TQ_OK);
    assert_int_equal(s.norms[70], 0x7bff);
}

static void check_long_vectors(void) {
    for (unsigned bits = 2; bits <= 8; bits++)
        for (int rule = TQ_NORM_PLAIN; rule <= TQ_NORM_UNBIASED; rule++)
            check_long_vectors_of(bits, (tq_norm_rule)rule);
}

static void norms_beyond_float16_are_refused(void **state) {
    (void)state;
    at_every_level(check_long_vectors);
}

/* It is the stored norm that counts: matched ones are below the length for some vectors, above it for
 * others. */
static void a_longer_vector_of_a_smaller_norm_is_encoded(void **state) {
    (void)state;
    const tq_batch one = {.heads = 1, .rows = 1};
    const tq_codec codec = {.format = TQ_TQ2, .head_dim = D, .norm_rule = TQ_NORM_MATCHED};
    rng r = {5};
    size_t shorter = 0, longer = 0;
    for (int i = 0; i < 200; i++) {
        float x[D];
        uint8_t codes[D];
        uint16_t norm;
        rng_gauss_fill(&r, x, D);
        const double plain = (double)model_encode(2, D, TQ_NORM_PLAIN, x, NULL, codes);
        for (size_t j = 0; j < D; j++)
            x[j] *= (float)(65504 / plain) * (i % 2 == 0 ? 1.001f : 0.999f);
        const float stored = model_encode(2, D, TQ_NORM_MATCHED, x, NULL, codes);
        if (i % 2 == 0 && stored <= 65504) longer++;
        if (i % 2 == 1 && stored > 65504) shorter++;
        assert_int_equal(tq_encode(&codec, &one, x, D, NULL, 0, codes, D / 4, &norm, 2),
                         stored <= 65504 ? TQ_OK : TQ_E_RANGE);
    }
    assert_true(shorter > 5 && longer > 5);
}

static double squared_distance(size_t dim, const float *a, const float *b) {
    double sum = 0;
    for (size_t j = 0; j < dim; j++)
        sum += ((double)a[j] - (double)b[j]) * ((double)a[j] - (double)b[j]);
    return sum;
}

/* Squared error of rows through the codec, over that with norms as they were before they were rounded,
 * less 1. Rows are of lengths from one octave: how far a norm is rounded depends on where in it the norm
 * lies. */
static double cost_of_rounding(unsigned bits, size_t dim) {
    enum { ROUNDS = 2048 };
    const tq_codec codec = {.format = (tq_format)bits, .head_dim = (uint32_t)dim};
    const tq_batch one = {.heads = 1, .rows = 1};
    double rounded = 0, exact = 0;
    rng r = {dim + bits};
    for (size_t t = 0; t < ROUNDS; t++) {
        float x[256], y[256], rotated[256];
        uint8_t codes[256], packed[256];
        uint16_t stored;
        rng_gauss_fill(&r, x, dim);
        for (size_t j = 0; j < dim; j++)
            x[j] *= (float)exp2((double)t / ROUNDS);
        assert_int_equal(tq_encode(&codec, &one, x, dim, NULL, 0, packed, 256, &stored, 2), TQ_OK);
        assert_int_equal(tq_decode(&codec, &one, TQ_ROTATED, packed, 256, &stored, 2, NULL, 0, y, dim),
                         TQ_OK);
        model_rotate(TQ_ROTATED, dim, x, rotated);
        rounded += squared_distance(dim, rotated, y);
        const float norm = model_encode(bits, dim, TQ_NORM_MATCHED, x, NULL, codes);
        for (size_t j = 0; j < dim; j++)
            y[j] = model_centroid(bits, codes[j]) * (norm / sqrtf((float)dim));
        exact += squared_distance(dim, rotated, y);
    }
    return rounded / exact - 1;
}

/* A norm is off by 2.1e-4 of itself in the mean square, 4.3e-8 squared: 0.10 % of tq8's error, and a
 * quarter as much of each format below. */
static void rounding_costs_next_to_nothing(void **state) {
    (void)state;
    static const size_t dims[] = {64, 128, 256};
    printf("  squared error over that with exact norms, in %%\n     D");
    for (unsigned bits = 2; bits <= 8; bits++)
        printf("      tq%u", bits);
    for (size_t d = 0; d < 3; d++) {
        printf("\n  %4zu", dims[d]);
        for (unsigned bits = 2; bits <= 8; bits++) {
            const double cost = 100 * cost_of_rounding(bits, dims[d]);
            printf("  %+.4f", cost);
            assert_true(cost < (bits == 8 ? 0.5 : bits == 7 ? 0.1 : 0.02) && cost > -0.02);
        }
    }
    printf("\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_rounds),
        cmocka_unit_test(norms_are_rounded_to_nearest_even),
        cmocka_unit_test(norms_beyond_float16_are_refused),
        cmocka_unit_test(a_longer_vector_of_a_smaller_norm_is_encoded),
        cmocka_unit_test(rounding_costs_next_to_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
