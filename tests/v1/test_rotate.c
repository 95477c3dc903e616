/* SPDX-License-Identifier: MIT
 * tq_hadamard_rotate_in and _out against the whole matrix in float64. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/rng.h"
#include "tqkv/v1.h"

enum { ROWS = 6 };
static const uint32_t dims[] = {256, 512};
typedef tq_status rotation(const float *src, float *dst, size_t n_rows, uint32_t head_dim);

static void against_the_matrix(void **state) {
    (void)state;
    for (size_t d = 0; d < 2; d++) {
        uint32_t dim = dims[d];
        float x[ROWS * V1_MAX_DIM];
        double want[V1_MAX_DIM];
        rng r = {dim};
        rng_gauss_fill(&r, x, ROWS * dim);
        for (int out = 0; out < 2; out++) {
            guard y = guard_new((ROWS * dim + 3) * sizeof(float));
            float *got = y.data;
            assert_int_equal((out ? tq_hadamard_rotate_out : tq_hadamard_rotate_in)(x, got, ROWS, dim),
                             TQ_OK);
            guard_assert_only(&y, 0, ROWS * dim * sizeof(float));
            for (size_t row = 0; row < ROWS; row++) {
                (out ? model_rotate_out : model_rotate_in)(dim, x + row * dim, want);
                /* 9 additions and a product in float32, each half an ulp of values up to about 5. */
                for (uint32_t i = 0; i < dim; i++)
                    assert_true(fabs((double)got[row * dim + i] - want[i]) < 2e-6);
            }
            guard_free(&y);
        }
    }
}

/* One-hot rows spell out the matrix: every entry is +-fl(1/sqrt(D)), with the signs of the definition. */
static void every_entry(void **state) {
    (void)state;
    for (size_t d = 0; d < 2; d++) {
        uint32_t dim = dims[d];
        float x[V1_MAX_DIM] = {0}, in[V1_MAX_DIM], out[V1_MAX_DIM], root = (float)(1 / sqrt((double)dim));
        for (uint32_t j = 0; j < dim; j++) {
            x[j] = 1.0f;
            assert_int_equal(tq_hadamard_rotate_in(x, in, 1, dim), TQ_OK);
            assert_int_equal(tq_hadamard_rotate_out(x, out, 1, dim), TQ_OK);
            x[j] = 0.0f;
            for (uint32_t i = 0; i < dim; i++) {
                float entry = (float)model_entry(i, j) * root;
                assert_true(in[i] == entry * (float)model_sign(dim, j));
                assert_true(out[i] == entry * (float)model_sign(dim, i));
            }
        }
    }
}

static void there_and_back_in_place(void **state) {
    (void)state;
    for (size_t d = 0; d < 2; d++) {
        uint32_t dim = dims[d];
        float x[ROWS * V1_MAX_DIM], apart[ROWS * V1_MAX_DIM], in_place[ROWS * V1_MAX_DIM];
        rng r = {dim + 1};
        rng_gauss_fill(&r, x, ROWS * dim);
        memcpy(in_place, x, sizeof x);
        rotation *const steps[] = {tq_hadamard_rotate_in, tq_hadamard_rotate_out};
        for (int i = 0; i < 2; i++) {
            float before[ROWS * V1_MAX_DIM];
            memcpy(before, in_place, sizeof before);
            assert_int_equal(steps[i](before, apart, ROWS, dim), TQ_OK);
            assert_int_equal(steps[i](in_place, in_place, ROWS, dim), TQ_OK);
            assert_memory_equal(in_place, apart, ROWS * dim * sizeof(float));
        }
        for (size_t i = 0; i < (size_t)ROWS * dim; i++)
            assert_true(fabs((double)in_place[i] - (double)x[i]) < 2e-6);
    }
}

static void values_that_are_not_finite_pass(void **state) {
    (void)state;
    static const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t v = 0; v < 3; v++) {
        float x[256] = {0}, y[256];
        x[3] = values[v];
        assert_int_equal(tq_hadamard_rotate_in(x, y, 1, 256), TQ_OK);
        for (size_t i = 0; i < 256; i++)
            assert_true(!isfinite(y[i]));
        assert_int_equal(tq_hadamard_rotate_out(x, y, 1, 256), TQ_OK);
        for (size_t i = 0; i < 256; i++)
            assert_true(!isfinite(y[i]));
    }
}

static void refused(tq_status got, tq_status want, const char *field, const guard *dst) {
    assert_int_equal(got, want);
    assert_int_equal(tq_last_error()->status, want);
    assert_string_equal(tq_last_error()->field, field);
    guard_assert_untouched(dst);
}

static void errors(void **state) {
    (void)state;
    rotation *const both[] = {tq_hadamard_rotate_in, tq_hadamard_rotate_out};
    static const uint32_t wrong[] = {0, 1, 64, 128, 255, 257, 384, 768, 1024, 256U << 16, UINT32_MAX};
    guard dst = guard_new(2048 * sizeof(float));
    float src[512] = {1.0f}, *out = dst.data;
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
            refused(both[k](src, out, 1, wrong[i]), TQ_E_HEAD_DIM, "head_dim", &dst);
        refused(both[k](NULL, out, 1, 256), TQ_E_NULL, "src", &dst);
        refused(both[k](src, NULL, 1, 256), TQ_E_NULL, "dst", &dst);
        refused(both[k](src, out, SIZE_MAX / 256, 256), TQ_E_OVERFLOW, "src", &dst);
        refused(both[k](src, out, SIZE_MAX, 512), TQ_E_OVERFLOW, "src", &dst);
        refused(both[k](out, out + 1, 2, 256), TQ_E_OVERLAP, "dst", &dst);
        refused(both[k](out + 511, out, 2, 256), TQ_E_OVERLAP, "dst", &dst);
        refused(both[k](out, out + 1023, 2, 512), TQ_E_OVERLAP, "dst", &dst);
        assert_int_equal(both[k](src, out, 0, 256), TQ_OK);
        guard_assert_untouched(&dst);
    }
    memset(out, 0, 1024 * sizeof(float));
    assert_int_equal(tq_hadamard_rotate_in(out, out + 512, 2, 256), TQ_OK);
    guard_free(&dst);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_the_matrix),
        cmocka_unit_test(every_entry),
        cmocka_unit_test(there_and_back_in_place),
        cmocka_unit_test(values_that_are_not_finite_pass),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
