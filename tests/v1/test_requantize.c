/* SPDX-License-Identifier: MIT
 * tq_requantize_to_f32_hb: nearest centroid, ties, errors. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/rng.h"
#include "tqkv/v1.h"

enum { N = 5000 };
static const unsigned all_bits[] = {5, 6, 8};

static void check(unsigned bits, const float *src, size_t n) {
    guard got = guard_new(n * sizeof(float));
    float *want = test_alloc(n * sizeof *want);
    for (size_t i = 0; i < n; i++)
        want[i] = model_centroids(bits)[model_code(bits, (double)src[i])];
    assert_int_equal(tq_requantize_to_f32_hb(src, got.data, n, bits), TQ_OK);
    assert_same_floats(got.data, want, n, "requantised");
    guard_assert_only(&got, 0, n * sizeof(float));
    memcpy(got.data, src, n * sizeof(float));
    assert_int_equal(tq_requantize_to_f32_hb(got.data, got.data, n, bits), TQ_OK);
    assert_same_floats(got.data, want, n, "requantised in place");
    guard_assert_only(&got, 0, n * sizeof(float));
    guard_free(&got);
    free(want);
}

static void random_values(void **state) {
    (void)state;
    float src[N];
    rng r = {5};
    for (size_t i = 0; i < N; i++)
        src[i] = (float)(rng_gauss(&r) * (i % 3 == 0 ? 3.0 : 1.0));
    for (size_t b = 0; b < 3; b++) {
        check(all_bits[b], src, N);
        for (size_t n = 1; n < 70; n++)
            check(all_bits[b], src + n, n);
    }
}

static void extreme_values(void **state) {
    (void)state;
    static const float src[] = {0.0f,     -0.0f,   0x1p-149f, -0x1p-149f, FLT_MIN,
                                -FLT_MIN, FLT_MAX, -FLT_MAX,  1e10f};
    for (size_t b = 0; b < 3; b++)
        check(all_bits[b], src, sizeof src / sizeof src[0]);
}

/* On the boundary: the lower cell. One step above it: the upper one. One step below: the lower one. */
static void ties_stay_in_the_lower_cell(void **state) {
    (void)state;
    for (size_t b = 0; b < 3; b++) {
        unsigned bits = all_bits[b];
        const float *boundary = model_boundaries(bits), *centroid = model_centroids(bits);
        for (unsigned i = 0; i + 1 < 1U << bits; i++) {
            float src[3] = {nextafterf(boundary[i], -INFINITY), boundary[i],
                            nextafterf(boundary[i], INFINITY)};
            float dst[3] = {0};
            assert_int_equal(tq_requantize_to_f32_hb(src, dst, 3, bits), TQ_OK);
            assert_true(dst[0] == centroid[i] && dst[1] == centroid[i] && dst[2] == centroid[i + 1]);
        }
    }
}

static void centroids_are_fixed_points(void **state) {
    (void)state;
    for (size_t b = 0; b < 3; b++) {
        float dst[256];
        size_t n = (size_t)1 << all_bits[b];
        const float *centroid = model_centroids(all_bits[b]);
        assert_int_equal(tq_requantize_to_f32_hb(centroid, dst, n, all_bits[b]), TQ_OK);
        assert_same_floats(dst, centroid, n, "a centroid");
    }
}

static void nothing_to_do(void **state) {
    (void)state;
    float one = 0.3f;
    guard dst = guard_new(sizeof(float));
    assert_int_equal(tq_requantize_to_f32_hb(&one, dst.data, 0, 5), TQ_OK);
    guard_assert_untouched(&dst);
    guard_free(&dst);
}

static void refused(tq_status got, tq_status want, const char *field, uint64_t index, const guard *dst) {
    assert_int_equal(got, want);
    assert_int_equal(tq_last_error()->status, want);
    assert_string_equal(tq_last_error()->field, field);
    assert_int_equal(tq_last_error()->index, index);
    assert_true(strlen(tq_last_error()->message) > 0);
    guard_assert_untouched(dst);
}

static void errors(void **state) {
    (void)state;
    float src[100];
    guard dst = guard_new(200 * sizeof(float));
    float *out = dst.data;
    rng r = {9};
    rng_gauss_fill(&r, src, 100);
    static const unsigned wrong[] = {0, 1, 2, 3, 4, 7, 9, 16, 0x105, 1U << 31};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        refused(tq_requantize_to_f32_hb(src, out, 100, wrong[i]), TQ_E_BITS, "bits", 0, &dst);
    refused(tq_requantize_to_f32_hb(NULL, out, 100, 5), TQ_E_NULL, "src", 0, &dst);
    refused(tq_requantize_to_f32_hb(src, NULL, 100, 5), TQ_E_NULL, "dst", 0, &dst);
    refused(tq_requantize_to_f32_hb(src, out, SIZE_MAX / 2, 5), TQ_E_OVERFLOW, "src", 0, &dst);
    refused(tq_requantize_to_f32_hb(src, out, SIZE_MAX / 4 + 1, 5), TQ_E_OVERFLOW, "src", 0, &dst);
    refused(tq_requantize_to_f32_hb(out, out + 1, 100, 5), TQ_E_OVERLAP, "dst", 0, &dst);
    refused(tq_requantize_to_f32_hb(out + 99, out, 100, 5), TQ_E_OVERLAP, "dst", 0, &dst);
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 100; i += 9) {
        float keep = src[i];
        src[i] = bad[i % 3];
        for (size_t b = 0; b < 3; b++)
            refused(tq_requantize_to_f32_hb(src, out, 100, all_bits[b]), TQ_E_NOT_FINITE, "src", i, &dst);
        src[i] = keep;
    }
    assert_int_equal(tq_requantize_to_f32_hb(src, out + 100, 100, 5), TQ_OK);
    guard_free(&dst);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_values),
        cmocka_unit_test(extreme_values),
        cmocka_unit_test(ties_stay_in_the_lower_cell),
        cmocka_unit_test(centroids_are_fixed_points),
        cmocka_unit_test(nothing_to_do),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
