/* SPDX-License-Identifier: MIT
 * tq_requantize of every format: nearest centroid, ties, ends of the range, in place. */
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "model.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/rng.h"

/* By the words of tq_codebook(): boundaries strictly below the value, of v2 below the magnitude. */
static float nearest(tq_format format, float v) {
    float c[256], b[255];
    assert_int_equal(tq_codebook(format, c, b), TQ_OK);
    unsigned n = 1U << tq_format_bits(format), code = 0;
    if (TQ_IS_V1(format)) {
        for (unsigned i = 0; i + 1 < n; i++)
            code += v > b[i];
        return c[code];
    }
    for (unsigned i = n / 2; i + 1 < n; i++)
        code += fabsf(v) > b[i];
    return signbit(v) ? -c[n / 2 + code] : c[n / 2 + code];
}

static void check(tq_format format, const float *src, size_t n) {
    guard got = guard_new(n * sizeof(float)), want = guard_new(n * sizeof(float));
    float *expected = want.data;
    for (size_t i = 0; i < n; i++)
        expected[i] = nearest(format, src[i]);
    assert_int_equal(tq_requantize(format, src, got.data, n), TQ_OK);
    assert_same_floats(got.data, expected, n, "requantised");
    guard_assert_only(&got, 0, n * sizeof(float));
    memcpy(got.data, src, n * sizeof(float));
    assert_int_equal(tq_requantize(format, got.data, got.data, n), TQ_OK);
    assert_same_floats(got.data, expected, n, "requantised in place");
    guard_free(&got);
    guard_free(&want);
}

static void random_values_of_any_length(void **state) {
    (void)state;
    float src[700];
    size_t count;
    const tq_format *formats = tq_formats(&count);
    rng r = {120};
    for (size_t i = 0; i < 700; i++)
        src[i] = (float)rng_gauss(&r) * (i % 5 == 0 ? 3.0f : 1.0f);
    for (size_t f = 0; f < count; f++) {
        check(formats[f], src, 700);
        for (size_t n = 1; n < 70; n++)
            check(formats[f], src + n, n);
    }
}

static void extreme_values(void **state) {
    (void)state;
    static const float src[] = {0.0f,     -0.0f,   0x1p-149f, -0x1p-149f, FLT_MIN,
                                -FLT_MIN, FLT_MAX, -FLT_MAX,  2e20f};
    size_t count;
    const tq_format *formats = tq_formats(&count);
    for (size_t f = 0; f < count; f++)
        check(formats[f], src, sizeof src / sizeof src[0]);
}

/* Both neighbours of each boundary and the boundary itself, on both sides of zero. v2 is symmetric: the
 * tie goes towards zero, and zero goes by its sign bit. v1 is not: the tie goes down. */
static void ties(void **state) {
    (void)state;
    size_t count;
    const tq_format *formats = tq_formats(&count);
    for (size_t f = 0; f < count; f++) {
        float c[256], b[255];
        unsigned n = 1U << tq_format_bits(formats[f]);
        bool v1 = TQ_IS_V1(formats[f]);
        assert_int_equal(tq_codebook(formats[f], c, b), TQ_OK);
        for (unsigned i = 0; i + 1 < n; i++) {
            float src[3] = {nextafterf(b[i], -INFINITY), b[i], nextafterf(b[i], INFINITY)}, dst[3];
            assert_int_equal(tq_requantize(formats[f], src, dst, 3), TQ_OK);
            bool tie_goes_up = !v1 && i + 1 <= n / 2;
            assert_true(dst[0] == c[i] && dst[2] == c[i + 1]);
            assert_true(dst[1] == (tie_goes_up ? c[i + 1] : c[i]));
        }
    }
}

/* Nearest indeed: no other centroid of v2 is closer, up to the rounding of a boundary. */
static void no_centroid_is_closer(void **state) {
    (void)state;
    for (unsigned bits = 2; bits <= 8; bits++) {
        float c[256];
        assert_int_equal(tq_codebook((tq_format)bits, c, NULL), TQ_OK);
        rng r = {130 + bits};
        for (int i = 0; i < 2000; i++) {
            float v = (float)rng_gauss(&r) * 1.5f, got;
            assert_int_equal(tq_requantize((tq_format)bits, &v, &got, 1), TQ_OK);
            double chosen = fabs((double)got - (double)v), best = INFINITY;
            for (unsigned k = 0; k < 1U << bits; k++)
                best = fmin(best, fabs((double)c[k] - (double)v));
            assert_true(chosen <= best + 1e-6);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_values_of_any_length),
        cmocka_unit_test(extreme_values),
        cmocka_unit_test(ties),
        cmocka_unit_test(no_centroid_is_closer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
