/* SPDX-License-Identifier: MIT
 * Softmaxes and divergences beside the C library's, in long double. */
#include <math.h>
#include <stdlib.h>

#include "measure/softmax.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/rng.h"

enum { MOST = 5000 };

typedef struct logits {
    float a[MOST], b[MOST];
    double p[MOST];
} logits;

static logits *gaussian(uint64_t seed, double spread, double apart) {
    logits *x = test_alloc(sizeof *x);
    rng r = {seed};
    rng_gauss_fill(&r, x->a, MOST);
    rng_gauss_fill(&r, x->b, MOST);
    for (size_t i = 0; i < MOST; i++) {
        const double a = (double)x->a[i] * spread, b = (double)x->b[i];
        x->a[i] = (float)a;
        x->b[i] = (float)(a + 3 + apart * b);
    }
    return x;
}

static long double log_sum(const float *x, size_t n) {
    long double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += expl((long double)x[i]);
    return logl(sum);
}

static long double divergence(const float *a, const float *b, size_t n) {
    const long double la = log_sum(a, n), lb = log_sum(b, n);
    long double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += expl((long double)a[i] - la) * ((long double)a[i] - la - (long double)b[i] + lb);
    return sum;
}

static void figures_are_right(void **state) {
    (void)state;
    const size_t lengths[] = {1, 2, 127, 128, 129, 1000, MOST};
    const double aparts[] = {1e-6, 1e-3, 1};
    for (size_t k = 0; k < 3; k++) {
        logits *x = gaussian(k + 1, 5, aparts[k]);
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            const size_t n = lengths[i];
            double kl, sum = 0;
            const measure_softmax r = measure_softmax_of(x->a, n, x->p);
            const measure_softmax s = measure_softmax_beside(x->a, x->p, &r, x->b, n, &kl);
            for (size_t j = 0; j < n; j++)
                sum += x->p[j];
            assert_true(fabs(sum - 1) < 1e-13);
            assert_true(fabsl((long double)r.log_sum - log_sum(x->a, n)) < 1e-13L);
            assert_true(fabsl((long double)s.log_sum - log_sum(x->b, n)) < 1e-13L);
            assert_true(fabsl((long double)kl - divergence(x->a, x->b, n)) < 1e-13L);
        }
        free(x);
    }
}

static void equals_are_exactly_0_apart(void **state) {
    (void)state;
    logits *x = gaussian(9, 5, 0);
    double kl = 1;
    const measure_softmax r = measure_softmax_of(x->a, MOST, x->p);
    const measure_softmax s = measure_softmax_beside(x->a, x->p, &r, x->a, MOST, &kl);
    assert_true(kl == 0 && s.log_sum == r.log_sum && s.top == r.top);
    free(x);
}

/* The first of equals, wherever it stands, and logits so far below that their weight is none. */
static void the_likeliest(void **state) {
    (void)state;
    float x[300];
    double p[300];
    for (size_t at = 0; at < 299; at += 13) {
        for (size_t i = 0; i < 300; i++)
            x[i] = -3000;
        x[at] = x[299] = 1;
        const measure_softmax s = measure_softmax_of(x, 300, p);
        assert_int_equal(s.top, at);
        assert_true(p[at] == 0.5 && p[299] == 0.5 && p[at + 1 == 299 ? 0 : at + 1] < 1e-300);
    }
}

static void what_is_no_number_stays_none(void **state) {
    (void)state;
    logits *x = gaussian(3, 1, 1);
    double kl;
    const measure_softmax r = measure_softmax_of(x->a, MOST, x->p);
    x->b[77] = NAN;
    measure_softmax_beside(x->a, x->p, &r, x->b, MOST, &kl);
    assert_true(isnan(kl));
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_right),
        cmocka_unit_test(equals_are_exactly_0_apart),
        cmocka_unit_test(the_likeliest),
        cmocka_unit_test(what_is_no_number_stays_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
