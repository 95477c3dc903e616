/* SPDX-License-Identifier: MIT
 * Distances of vectors whose figures are known, and attention in float64 by hand. */
#include <math.h>

#include "measure/distance.h"
#include "measure/exact.h"
#include "support/cm.h"

static void known_vectors(void **state) {
    (void)state;
    const float a[] = {3, 4, 0, 0, 1, 0}, b[] = {3, 0, 0, 0, 0, 2};
    measure_distance d;
    assert_int_equal(measure_distance_begin(&d, 3), TQ_OK);
    measure_distance_add(&d, a, b, 2, 2);
    measure_distance_add(&d, a + 4, b + 4, 1, 2);
    assert_int_equal(d.n_vectors, 3);
    assert_true(d.error == 16.0 + 0.0 + 5.0);
    assert_true(d.reference == 25.0 + 0.0 + 1.0);
    assert_true(d.max_abs == 4.0);
    assert_true(measure_relative_error(&d) == 21.0 / 26.0);
    /* Cosines 0.6, 1 of a zero with a zero, and 0 across. */
    assert_true(fabs(measure_mean_cosine(&d) - 1.6 / 3.0) < 1e-15);
    assert_true(measure_first_percentile(&d) == 0.0);
    measure_distance_free(&d);
}

static void nothing_to_compare_with(void **state) {
    (void)state;
    const float zero[2] = {0}, one[2] = {1, 0};
    measure_distance d;
    assert_int_equal(measure_distance_begin(&d, 2), TQ_OK);
    measure_distance_add(&d, zero, zero, 1, 2);
    assert_true(measure_relative_error(&d) == 0.0);
    measure_distance_add(&d, zero, one, 1, 2);
    assert_true(isinf(measure_relative_error(&d)));
    assert_true(measure_first_percentile(&d) == 0.0);
    measure_distance_free(&d);
}

/* Two keys with scores 0 and ln 3: weights a quarter and three quarters; then the window hides the first.
 */
static void attention_by_hand(void **state) {
    (void)state;
    const float q[] = {1, 0}, k[] = {0, 5, 1, 7}, v[] = {4, -4, 8, 0};
    measure_exact x = {.n_heads = 1,
                       .n_kv_heads = 1,
                       .head_dim = 2,
                       .n_queries = 1,
                       .n_positions = 2,
                       .first_query = 1,
                       .scale = log(3.0),
                       .causal = true,
                       .q = q,
                       .k = k,
                       .v = v};
    double scratch[2], out[2], terms[2];
    measure_exact_attend(&x, 0, 0, scratch, out, terms);
    assert_true(fabs(out[0] - 7.0) < 1e-14 && fabs(out[1] + 1.0) < 1e-14 && fabs(terms[1] - 1.0) < 1e-14);
    measure_exact_scores(&x, 0, 0, 1, scratch);
    assert_true(fabs(measure_exact_softmax(scratch, 2, scratch) - log(4.0)) < 1e-14);
    x.window = 1;
    measure_exact_attend(&x, 0, 0, scratch, out, terms);
    assert_true(out[0] == 8.0 && out[1] == 0.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_vectors),
        cmocka_unit_test(nothing_to_compare_with),
        cmocka_unit_test(attention_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
