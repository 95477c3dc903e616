/* SPDX-License-Identifier: MIT
 * How long a vector may be: so that float16 holds its norm, whatever it is encoded to and whenever. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention/half.h"
#include "broken.h"
#include "setup.h"
#include "support/cm.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static tq_cache_config config_of(tq_format format, uint32_t dim, tq_norm_rule rule) {
    tq_cache_config c = {.size = sizeof c, .capacity = 4};
    c.layer.n_kv_heads = 1;
    c.layer.k = (tq_codec){format, dim, rule, 0};
    c.layer.v = (tq_codec){TQ_TQ4, 32, TQ_NORM_PLAIN, 0};
    return c;
}

/* What a new cache says to one key of that length along x, encoded at once. */
static tq_status append_along(const tq_cache_config *c, const float *x, double length, uint16_t *norm) {
    static const float zeros[32];
    const size_t dim = c->layer.k.head_dim;
    float *k = zeroed(dim, sizeof *k);
    tq_segment segments[TQ_CACHE_SEGMENTS];
    tq_cache *cache;
    size_t n;
    for (size_t i = 0; i < dim; i++)
        k[i] = (float)(length * (double)x[i]);
    assert_int_equal(tq_cache_create(c, &cache), TQ_OK);
    const tq_status got = tq_cache_append(cache, 1, k, zeros);
    if (got == TQ_OK && norm != NULL) {
        assert_int_equal(tq_cache_segments(cache, segments, &n), TQ_OK);
        memcpy(norm, segments[0].k.norm_blocks[0], sizeof *norm);
    }
    tq_cache_destroy(cache);
    free(k);
    return got;
}

/* The longest that is taken, found by halving. */
static double limit_of(const tq_cache_config *c) {
    float *x = zeroed(c->layer.k.head_dim, sizeof *x);
    double low = 0, high = 200000;
    x[0] = 1;
    while (high - low > 1e-3)
        *(append_along(c, x, (low + high) / 2, NULL) == TQ_OK ? &low : &high) = (low + high) / 2;
    free(x);
    return low;
}

/* What a rule makes most of: along a rotated axis; and others. Just below the limit all norms are finite,
 * also where a centre as long is subtracted. */
static void directions(tq_cache_config c, double limit, double *largest) {
    const size_t dim = c.layer.k.head_dim;
    float *axis = zeroed(dim, sizeof *axis), *x = zeroed(dim, sizeof *x);
    for (size_t i = 0; i < dim + 3; i++) {
        uint16_t norm = 0xFFFF;
        memset(axis, 0, dim * sizeof *axis);
        for (size_t j = 0; j < dim; j++)
            axis[j] = i < dim ? j == i : i == dim ? 1 / sqrtf((float)dim) : j == 5 * (i - dim);
        if (i < dim) assert_int_equal(tq_rotate(&c.layer.k, TQ_ORIGINAL, 1, axis, x), TQ_OK);
        if (i >= dim) memcpy(x, axis, dim * sizeof *x);
        if (append_along(&c, x, limit * 0.9999, &norm) != TQ_OK) broken("%s", tq_last_error()->message);
        if (!((norm & 0x7C00) < 0x7C00)) broken("direction %zu: norm 0x%04x", i, norm);
        *largest = fmax(*largest, half_to(norm));
    }
    free(axis);
    free(x);
}

static void limits(void **state) {
    (void)state;
    static const uint32_t dims[] = {32, 64, 80, 128, 576, 1024};
    double least[4] = {1e9, 1e9, 1e9, 1e9};
    for (size_t i = 0; i < COUNT(dims) * 7 * 3; i++) {
        const tq_norm_rule rule = (tq_norm_rule)(TQ_NORM_PLAIN + (int)(i % 3));
        tq_cache_config c = config_of((tq_format)(TQ_TQ2 + (int)(i / 3 % 7)), dims[i / 21], rule);
        const double limit = limit_of(&c);
        double largest = 0;
        directions(c, limit, &largest);
        float *zeros = zeroed(dims[i / 21], sizeof *zeros);
        c.k_centre = zeros; /* of which a key may be twice as far away */
        const double centred = limit_of(&c);
        assert_true(fabs(centred - limit / 2) < 1e-3 * limit);
        least[rule] = fmin(least[rule], centred);
        free(zeros);
        if (largest > 65504 || largest < 3000) broken("%g is the largest norm", largest);
    }
    print_message("with a centre at least %.0f plain, %.0f matched, %.0f unbiased\n",
                  least[TQ_NORM_PLAIN], least[TQ_NORM_MATCHED], least[TQ_NORM_UNBIASED]);
    /* what tqkv/cache.h says of every format and head_dim */
    assert_true(least[TQ_NORM_MATCHED] >= 3800 && least[TQ_NORM_UNBIASED] >= 1500);
}

/* Subtracting a centre that points the other way, both as long as they may be. */
static void opposite_centres(void **state) {
    (void)state;
    for (unsigned i = 0; i < 7 * 3; i++) {
        tq_cache_config c = config_of((tq_format)(TQ_TQ2 + (int)(i / 3)), 64,
                                      (tq_norm_rule)(TQ_NORM_PLAIN + (int)(i % 3)));
        float axis[64] = {0}, x[64], centre[64] = {0};
        uint16_t norm = 0xFFFF;
        c.k_centre = centre;
        const double limit = limit_of(&c);
        for (size_t a = 0; a < 64; a++) {
            memset(axis, 0, sizeof axis);
            axis[a] = 1;
            assert_int_equal(tq_rotate(&c.layer.k, TQ_ORIGINAL, 1, axis, x), TQ_OK);
            for (size_t j = 0; j < 64; j++)
                centre[j] = (float)(-limit * 0.999 * (double)x[j]);
            if (append_along(&c, x, limit * 0.999, &norm) != TQ_OK)
                broken("%s", tq_last_error()->message);
            if ((norm & 0x7C00) == 0x7C00) broken("axis %zu: norm 0x%04x", a, norm);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits),
        cmocka_unit_test(opposite_centres),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
