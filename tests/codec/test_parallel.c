/* SPDX-License-Identifier: MIT
 * Batches on a caller's threads: the same bytes for any number of them, and for none. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/cm.h"
#include "support/pool.h"
#include "support/rng.h"
#include "tqkv/codec.h"

enum { HEADS = 3, ROWS = 2100, DIM = 96, VALUES = HEADS * ROWS * DIM };

typedef struct outcome {
    uint8_t codes[VALUES];
    float norms[HEADS * ROWS];
    float decoded[VALUES];
} outcome;

static void round_trip(const float *src, const float *centre, const tq_parallel *parallel, outcome *out) {
    const tq_codec codec = {.format = TQ_TQ5, .head_dim = DIM, .norm_rule = TQ_NORM_UNBIASED};
    const tq_batch batch = {.heads = HEADS, .rows = ROWS, .parallel = parallel};
    memset(out, 0, sizeof *out);
    assert_int_equal(tq_encode(&codec, &batch, src, VALUES, centre, out->codes, sizeof out->codes,
                               out->norms, HEADS * ROWS),
                     TQ_OK);
    assert_int_equal(tq_decode(&codec, &batch, TQ_ORIGINAL, out->codes, sizeof out->codes, out->norms,
                               HEADS * ROWS, centre, out->decoded, VALUES),
                     TQ_OK);
}

static float *random_values(size_t n) {
    float *x = malloc(n * sizeof *x);
    rng r = {20};
    assert_non_null(x);
    rng_gauss_fill(&r, x, n);
    return x;
}

static void same_bytes_on_any_number_of_threads(void **state) {
    (void)state;
    static const size_t counts[] = {1, 2, 3, POOL_MOST_THREADS};
    float *src = random_values(VALUES + HEADS * DIM);
    outcome *alone = malloc(sizeof *alone), *shared = malloc(sizeof *shared);
    assert_true(alone != NULL && shared != NULL);
    round_trip(src, src + VALUES, NULL, alone);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        pool p = {.threads = counts[i]};
        const tq_parallel parallel = {pool_run, &p};
        round_trip(src, src + VALUES, &parallel, shared);
        assert_true(p.tasks_seen >= 3 * 6); /* scan, encode, decode, of two or more pieces a head */
        assert_memory_equal(alone, shared, sizeof *alone);
    }
    free(src);
    free(alone);
    free(shared);
}

static void the_first_bad_value_is_named(void **state) {
    (void)state;
    const tq_codec codec = {.format = TQ_TQ4, .head_dim = DIM};
    pool p = {.threads = 3};
    const tq_parallel parallel = {pool_run, &p};
    const tq_batch batch = {.heads = HEADS, .rows = ROWS, .parallel = &parallel};
    float *src = random_values(VALUES);
    outcome *out = calloc(1, sizeof *out);
    assert_non_null(out);
    src[VALUES - 1] = src[VALUES / 2] = src[12345] = INFINITY;
    assert_int_equal(tq_encode(&codec, &batch, src, VALUES, NULL, out->codes, sizeof out->codes,
                               out->norms, HEADS * ROWS),
                     TQ_E_NOT_FINITE);
    assert_int_equal(tq_last_error()->index, 12345);
    for (size_t i = 0; i < DIM / 2; i++) /* its vector is not written */
        assert_int_equal(out->codes[12345 / DIM * (DIM / 2) + i], 0);
    free(src);
    free(out);
}

static void openmp_gives_the_same_bytes(void **state) {
    (void)state;
    tq_parallel parallel;
    const tq_status status = tq_parallel_openmp(&parallel, 3);
    if (status == TQ_E_UNSUPPORTED) skip();
    assert_int_equal(status, TQ_OK);
    float *src = random_values(VALUES + HEADS * DIM);
    outcome *alone = malloc(sizeof *alone), *shared = malloc(sizeof *shared);
    assert_true(alone != NULL && shared != NULL);
    round_trip(src, src + VALUES, NULL, alone);
    round_trip(src, src + VALUES, &parallel, shared);
    assert_memory_equal(alone, shared, sizeof *alone);
    assert_int_equal(tq_parallel_openmp(&parallel, 0), TQ_OK);
    round_trip(src, src + VALUES, &parallel, shared);
    assert_memory_equal(alone, shared, sizeof *alone);
    assert_int_equal(tq_parallel_openmp(NULL, 0), TQ_E_NULL);
    free(src);
    free(alone);
    free(shared);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes_on_any_number_of_threads),
        cmocka_unit_test(the_first_bad_value_is_named),
        cmocka_unit_test(openmp_gives_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
