/* SPDX-License-Identifier: MIT
 * The block bootstrap against what is known of means: how wide, for neighbours alike and not, and how
 * often it holds. */
#include <math.h>
#include <stdlib.h>

#include "measure/bootstrap.h"
#include "support/cm.h"
#include "support/rng.h"

enum { N = 4096 };

/* x [N], each `alike` parts the one before it: variance 1, mean 0. */
static void fill(rng *r, double alike, double *x) {
    float noise[N];
    rng_gauss_fill(r, noise, N);
    x[0] = (double)noise[0];
    for (size_t i = 1; i < N; i++)
        x[i] = alike * x[i - 1] + sqrt(1 - alike * alike) * (double)noise[i];
}

static double half_width(const measure_interval *i) {
    return 0.5 * (i->high - i->low);
}

/* 1.96 standard deviations of the mean: 1 / sqrt(N) by sqrt((1 + a) / (1 - a)), which blocks must see. */
static void widths(void **state) {
    (void)state;
    const double alike[] = {0, 0.5, 0.9};
    rng r = {5};
    double x[N];
    for (size_t k = 0; k < 3; k++) {
        const double a = alike[k], want = 1.96 * sqrt((1 + a) / (1 - a) / N);
        double sum = 0;
        for (size_t i = 0; i < 40; i++) {
            measure_interval interval;
            fill(&r, a, x);
            assert_int_equal(measure_bootstrap(x, N, &interval), 0);
            sum += half_width(&interval) / 40;
        }
        print_message("alike %.1f: %.4f for %.4f\n", a, sum, want);
        assert_true(sum > 0.85 * want && sum < 1.1 * want);
    }
}

/* The true mean lies inside in nearly 95 of 100. */
static void covers(void **state) {
    (void)state;
    rng r = {6};
    double x[N];
    size_t inside = 0;
    for (size_t i = 0; i < 200; i++) {
        measure_interval interval;
        fill(&r, 0.5, x);
        assert_int_equal(measure_bootstrap(x, N, &interval), 0);
        inside += interval.low <= 0 && interval.high >= 0;
    }
    print_message("inside: %zu of 200\n", inside);
    assert_true(inside >= 178 && inside <= 198);
}

/* A constant added is a constant added; the last, shorter block counts as what it is. */
static void draws_are_the_same(void **state) {
    (void)state;
    rng r = {7};
    double x[N], y[N];
    measure_interval a, b;
    fill(&r, 0.5, x);
    for (size_t i = 0; i < N; i++)
        y[i] = x[i] + 3;
    for (size_t n = N - 70; n <= N; n += 35) {
        assert_int_equal(measure_bootstrap(x, n, &a) | measure_bootstrap(y, n, &b), 0);
        assert_true(fabs(b.low - a.low - 3) < 1e-12 && fabs(b.high - a.high - 3) < 1e-12);
    }
}

static void few_say_nothing(void **state) {
    (void)state;
    const size_t least = (size_t)(MEASURE_LEAST_BLOCKS - 1) * MEASURE_BLOCK;
    double x[N] = {0};
    measure_interval i;
    assert_int_equal(measure_bootstrap(x, least, &i), 0);
    assert_true(isnan(i.low) && isnan(i.high));
    assert_int_equal(measure_bootstrap(x, 0, &i), 0);
    assert_true(isnan(i.low));
    assert_int_equal(measure_bootstrap(x, least + 1, &i), 0);
    assert_true(i.low == 0 && i.high == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widths),
        cmocka_unit_test(covers),
        cmocka_unit_test(draws_are_the_same),
        cmocka_unit_test(few_say_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
