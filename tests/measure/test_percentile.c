/* SPDX-License-Identifier: MIT
 * Percentiles against their definition, one value after the other. */
#include <stdint.h>

#include "measure/percentile.h"
#include "measure/timing.h"
#include "support/cm.h"

/* The smallest of n sorted values that at least so many percent of all do not exceed. */
static size_t by_definition(size_t n, size_t percent) {
    size_t i = 0;
    while (100 * (i + 1) < percent * n)
        i++;
    return i;
}

static void ranks(void **state) {
    (void)state;
    for (size_t n = 1; n <= 450; n++)
        for (size_t percent = 0; percent <= 100; percent++)
            assert_int_equal(measure_rank(n, percent), by_definition(n, percent));
    /* n * percent is more than a size_t holds. */
    assert_int_equal(measure_rank(SIZE_MAX, 100), SIZE_MAX - 1);
    assert_int_equal(measure_rank(SIZE_MAX / 100 * 100, 50), SIZE_MAX / 100 * 50 - 1);
}

static void sorted(void **state) {
    (void)state;
    double values[101];
    float floats[101];
    for (size_t i = 0; i < 101; i++) {
        values[i] = (double)(i * 37 % 101) - 50.0;
        floats[i] = (float)values[i];
    }
    measure_sort(values, 101);
    measure_sort_floats(floats, 101);
    for (size_t i = 0; i < 101; i++) {
        assert_true(values[i] == (double)i - 50.0);
        assert_true(floats[i] == (float)i - 50.0f);
    }
}

/* Median, and half of the distance between the quartiles as a share of it. */
static void summaries(void **state) {
    (void)state;
    double values[] = {80, 10, 30, 20, 70, 60, 40, 50}, one[] = {3}, zeros[] = {0, 0, 0};
    const measure_summary s = measure_summarise(values, 8);
    assert_true(s.median == 40.0);
    assert_true(s.spread == 0.5 * (60.0 - 20.0) / 40.0);
    assert_true(measure_summarise(one, 1).median == 3.0 && measure_summarise(one, 1).spread == 0.0);
    assert_true(measure_summarise(zeros, 3).spread == 0.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks),
        cmocka_unit_test(sorted),
        cmocka_unit_test(summaries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
