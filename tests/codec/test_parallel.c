/* SPDX-License-Identifier: MIT
 * Batches on a caller's threads: the same bytes for any number of them, and for none. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/cm.h"
#include "support/pool.h"
#include "support/rng.h"
#include "tqkv/tqkv.h"

enum { HEADS = 3, ROWS = 2100, DIM = 96, VALUES = HEADS * ROWS * DIM };

typedef struct outcome {
    uint8_t codes[VALUES];
    uint16_t norms[HEADS * ROWS];
    float decoded[VALUES];
} outcome;

static void round_trip(const float *src, const uint16_t *centre, const tq_parallel *parallel,
                       outcome *out) {
    const tq_codec codec = {.format = TQ_TQ5, .head_dim = DIM, .norm_rule = TQ_NORM_UNBIASED};
    const tq_batch batch = {.heads = HEADS, .rows = ROWS, .parallel = parallel};
    memset(out, 0, sizeof *out);
    assert_int_equal(tq_encode(&codec, &batch, src, VALUES, centre, HEADS * DIM, out->codes,
                               sizeof out->codes, out->norms, sizeof out->norms),
                     TQ_OK);
    assert_int_equal(tq_decode(&codec, &batch, TQ_ORIGINAL, out->codes, sizeof out->codes, out->norms,
                               sizeof out->norms, centre, HEADS * DIM, out->decoded, VALUES),
                     TQ_OK);
}

static uint16_t centre[HEADS * DIM];

static float *random_values(size_t n) {
    float *x = malloc(n * sizeof *x);
    rng r = {20};
    assert_non_null(x);
    rng_gauss_fill(&r, x, n);
    return x;
}

/* Some numbers between 1 and 2 of both signs. */
static int fill_centre(void **state) {
    (void)state;
    for (size_t i = 0; i < HEADS * DIM; i++)
        centre[i] = (uint16_t)(0x3c00 + i * 37 % 1024 + i % 2 * 0x8000);
    return 0;
}

static void same_bytes_on_any_number_of_threads(void **state) {
    (void)state;
    static const size_t counts[] = {1, 2, 3, POOL_MOST_THREADS};
    float *src = random_values(VALUES);
    outcome *alone = malloc(sizeof *alone), *shared = malloc(sizeof *shared);
    assert_true(alone != NULL && shared != NULL);
    round_trip(src, centre, NULL, alone);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        pool p = {.threads = counts[i]};
        const tq_parallel parallel = {pool_run, &p};
        round_trip(src, centre, &parallel, shared);
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
    assert_int_equal(tq_encode(&codec, &batch, src, VALUES, NULL, 0, out->codes, sizeof out->codes,
                               out->norms, sizeof out->norms),
                     TQ_E_NOT_FINITE);
    assert_int_equal(tq_last_error()->index, 12345);
    for (size_t i = 0; i < DIM / 2; i++) /* its vector is not written */
        assert_int_equal(out->codes[12345 / DIM * (DIM / 2) + i], 0);
    src[12345] = 1e6f; /* a norm that float16 does not hold: its vector is named */
    assert_int_equal(tq_encode(&codec, &batch, src, VALUES, NULL, 0, out->codes, sizeof out->codes,
                               out->norms, sizeof out->norms),
                     TQ_E_RANGE);
    assert_int_equal(tq_last_error()->index, 12345 / DIM * DIM);
    assert_int_equal(out->norms[12345 / DIM], 0);
    free(src);
    free(out);
}

static void openmp_gives_the_same_bytes(void **state) {
    (void)state;
    tq_parallel parallel;
    const tq_status status = tq_parallel_openmp(&parallel, 3);
    if (status == TQ_E_UNSUPPORTED) skip();
    assert_int_equal(status, TQ_OK);
    float *src = random_values(VALUES);
    outcome *alone = malloc(sizeof *alone), *shared = malloc(sizeof *shared);
    assert_true(alone != NULL && shared != NULL);
    round_trip(src, centre, NULL, alone);
    round_trip(src, centre, &parallel, shared);
    assert_memory_equal(alone, shared, sizeof *alone);
    assert_int_equal(tq_parallel_openmp(&parallel, 0), TQ_OK);
    round_trip(src, centre, &parallel, shared);
    assert_memory_equal(alone, shared, sizeof *alone);
    assert_int_equal(tq_parallel_openmp(NULL, 0), TQ_E_NULL);
    free(src);
    free(alone);
    free(shared);
}

/* One vector is no work for threads, and the mistake is named all the same. */
static void a_run_that_is_null_is_refused(void **state) {
    (void)state;
    static const tq_parallel none = {NULL, NULL};
    static float x[2 * DIM], lse, sum, workspace[4096 / sizeof(float)];
    static uint8_t codes[DIM];
    static uint16_t norm;
    const tq_codec codec = {.format = TQ_TQ4, .head_dim = DIM};
    const tq_batch batch = {.heads = 1, .rows = 1, .parallel = &none};
    const tq_attention_params params = {.size = sizeof params,
                                        .n_heads = 1,
                                        .n_kv_heads = 1,
                                        .head_dim = DIM,
                                        .n_queries = 1,
                                        .scale = 1,
                                        .domain = TQ_ORIGINAL,
                                        .parallel = &none};
    tq_cache_config config = tq_cache_config_default(1, DIM, 8);
    tq_cache *cache;
    size_t bytes;
    float *out = x + DIM;
    config.parallel = &none;
    const tq_status refused[] = {
        tq_encode(&codec, &batch, x, DIM, NULL, 0, codes, DIM / 2, &norm, 2),
        tq_decode(&codec, &batch, TQ_ORIGINAL, codes, DIM / 2, &norm, 2, NULL, 0, out, DIM),
        tq_cache_create(&config, &cache),
        tq_attention_workspace(&params, NULL, 0, &bytes),
        tq_attention(&params, NULL, 0, x, DIM, out, DIM, NULL, 0, workspace, sizeof workspace),
        tq_attention_partial(&params, NULL, 0, x, DIM, out, DIM, &lse, &sum, 1, workspace,
                             sizeof workspace),
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        assert_int_equal(refused[i], TQ_E_NULL);
    assert_string_equal(tq_last_error()->field, "parallel");
}

/* An encoding of 8 tasks. */
static tq_status work_on(const tq_parallel *parallel) {
    enum { WIDE = 128, LONG = 4096 };
    static float x[WIDE * LONG];
    static uint16_t norms[LONG];
    static uint8_t codes[WIDE / 2 * LONG];
    const tq_codec codec = {.format = TQ_TQ4, .head_dim = WIDE};
    const tq_batch batch = {.heads = 1, .rows = LONG, .parallel = parallel};
    return tq_encode(&codec, &batch, x, WIDE * LONG, NULL, 0, codes, sizeof codes, norms, sizeof norms);
}

static void absurd_numbers_of_threads_are_refused(void **state) {
    (void)state;
    static const unsigned absurd[] = {TQ_MAX_THREADS + 1, 100000, 3000000000, UINT32_MAX};
    tq_parallel parallel;
    if (tq_parallel_openmp(&parallel, 1) == TQ_E_UNSUPPORTED) skip();
    for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; i++) {
        assert_int_equal(tq_parallel_openmp(&parallel, absurd[i]), TQ_E_SIZE);
        assert_string_equal(tq_last_error()->field, "threads");
    }
    assert_int_equal(tq_parallel_openmp(&parallel, TQ_MAX_THREADS), TQ_OK);
}

/* The parent has worked on two threads, which fork() does not copy. */
static void a_forked_child_works(void **state) {
    (void)state;
    tq_parallel parallel;
    int status;
    if (tq_parallel_openmp(&parallel, 2) == TQ_E_UNSUPPORTED) skip();
    assert_int_equal(work_on(&parallel), TQ_OK);
    const pid_t child = fork();
    if (child == 0) {
        alarm(60); /* a child that hangs fails by its signal */
        _exit(work_on(&parallel) == TQ_OK && work_on(&parallel) == TQ_OK ? 0 : 1);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(work_on(&parallel), TQ_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes_on_any_number_of_threads),
        cmocka_unit_test(the_first_bad_value_is_named),
        cmocka_unit_test(openmp_gives_the_same_bytes),
        cmocka_unit_test(a_run_that_is_null_is_refused),
        cmocka_unit_test(absurd_numbers_of_threads_are_refused),
        cmocka_unit_test(a_forked_child_works),
    };
    return cmocka_run_group_tests(tests, fill_centre, NULL);
}
