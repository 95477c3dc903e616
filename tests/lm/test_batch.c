/* SPDX-License-Identifier: MIT
 * A sequence gives the same bits alone, anywhere in a batch, and on any number of threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lm/product.h"
#include "lm_support.h"
#include "support/guard.h"
#include "support/pool.h"
#include "support/rng.h"

enum { STEPS = 12 };

static size_t kinds(lm_kv out[8]) {
    lm_kv mixed = cache_of(TQ_TQ8);
    mixed.v_format = TQ_TQ4;
    mixed.recent = 3;
    mixed.sinks = 2;
    mixed.learn_centre = 4;
    mixed.centre_stretch = 16;
    lm_kv half_dense = cache_of(TQ_TQ4);
    half_dense.v_dense = 1;
    const lm_kv all[] = {{.store = LM_STORE_F32},
                         cache_of(TQ_TQ4),
                         {.store = LM_STORE_F16},
                         blocks_of(LM_Q8_0, 1),
                         mixed,
                         half_dense,
                         {.store = LM_STORE_F32},
                         cache_of(TQ_TQ8)};
    memcpy(out, all, sizeof all);
    return sizeof all / sizeof all[0];
}

/* Logits [STEPS][n][VOCAB] of n sequences of the kinds from `first` on, decoded side by side. */
static float *decode_batch(const lm_model *m, size_t first, size_t n, const uint32_t *tokens,
                           const tq_parallel *parallel) {
    lm_kv kind[8];
    const size_t n_kinds = kinds(kind);
    lm_sequence *s[40];
    uint32_t row[40];
    float *logits = floats(STEPS * n * VOCAB);
    for (size_t i = 0; i < n; i++)
        s[i] = new_sequence(m, kind[(first + i) % n_kinds], STEPS, 4, parallel);
    for (size_t t = 0; t < STEPS; t++) {
        for (size_t i = 0; i < n; i++)
            row[i] = tokens[t];
        assert_ok(lm_decode(m, n, s, row, logits + t * n * VOCAB, NULL));
    }
    for (size_t i = 0; i < n; i++)
        lm_sequence_free(s[i]);
    return logits;
}

static void a_neighbour_changes_nothing(void **state) {
    (void)state;
    const size_t sizes[] = {2, 7, 8, 9, 31};
    for (size_t model = 0; model < N_MODELS; model++) {
        lm_model *m = load_model(model);
        fixture *f = load_fixture(model);
        float *alone[8];
        for (size_t k = 0; k < 8; k++)
            alone[k] = decode_batch(m, k, 1, f->tokens, NULL);
        for (size_t z = 0; z < sizeof sizes / sizeof sizes[0]; z++) {
            const size_t n = sizes[z];
            float *batch = decode_batch(m, z, n, f->tokens, NULL);
            for (size_t t = 0; t < STEPS; t++)
                for (size_t i = 0; i < n; i++)
                    assert_memory_equal(batch + (t * n + i) * VOCAB, alone[(z + i) % 8] + t * VOCAB,
                                        VOCAB * sizeof(float));
            free(batch);
        }
        for (size_t k = 0; k < 8; k++)
            free(alone[k]);
        free(f);
        lm_model_free(m);
    }
}

static void threads_change_nothing(void **state) {
    (void)state;
    lm_model *m = load_model(0);
    fixture *f = load_fixture(0);
    float *here = decode_batch(m, 0, 11, f->tokens, NULL);
    float *prefilled = run_tokens(m, cache_of(TQ_TQ4), f->tokens, 100, 64, NULL);
    for (size_t threads = 1; threads <= 3; threads++) {
        pool p = {.threads = threads};
        const tq_parallel parallel = {pool_run, &p};
        float *there = decode_batch(m, 0, 11, f->tokens, &parallel);
        assert_memory_equal(here, there, STEPS * 11 * VOCAB * sizeof *here);
        free(there);
        there = run_tokens(m, cache_of(TQ_TQ4), f->tokens, 100, 64, &parallel);
        assert_memory_equal(prefilled, there, 100 * VOCAB * sizeof *there);
        assert_true(p.tasks_seen > 0);
        free(there);
    }
    free(here);
    free(prefilled);
    free(f);
    lm_model_free(m);
}

/* Sequences that decode a text of known tokens, several at once, past the window of the layers' rings,
 * where a position takes the place of one that earlier tokens of the same call have seen. */
static void known_tokens_change_nothing(void **state) {
    (void)state;
    enum { N = 3, TOKENS = 300, AT_ONCE = 13 };
    lm_kv kind[8];
    kinds(kind);
    const size_t chosen[N] = {0, 4, 3};
    lm_model *m = load_model(0);
    fixture *f = load_fixture(0);
    pool p = {.threads = 2};
    const tq_parallel parallel = {pool_run, &p};
    lm_sequence *s[N];
    float *alone[N];
    for (size_t i = 0; i < N; i++) {
        s[i] = new_sequence(m, kind[chosen[i]], TOKENS, 1, &parallel);
        alone[i] = run_tokens(m, kind[chosen[i]], f->tokens, TOKENS, 0, NULL);
    }
    for (size_t t = 0, steps; t < TOKENS; t += steps) {
        uint32_t tokens[AT_ONCE * N];
        const float *logits;
        steps = TOKENS - t < AT_ONCE ? TOKENS - t : AT_ONCE;
        for (size_t i = 0; i < steps * N; i++)
            tokens[i] = f->tokens[t + i / N];
        assert_ok(lm_decode_text(m, N, s, steps, tokens, &logits, NULL));
        for (size_t i = 0; i < steps * N; i++)
            assert_memory_equal(logits + i * VOCAB, alone[i % N] + (t + i / N) * VOCAB,
                                VOCAB * sizeof *logits);
    }
    assert_true(p.tasks_seen > 0);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(lm_sequence_length(s[i]), TOKENS);
        lm_sequence_free(s[i]);
        free(alone[i]);
    }
    free(f);
    lm_model_free(m);
}

/* Sequences of a batch may stand at different positions. */
static void positions_are_each_sequences_own(void **state) {
    (void)state;
    enum { N = 5 };
    lm_model *m = load_model(1);
    fixture *f = load_fixture(1);
    float *alone = run_tokens(m, cache_of(TQ_TQ8), f->tokens, 4 * N + 1, 0, NULL);
    float logits[N][VOCAB];
    lm_sequence *s[N];
    uint32_t tokens[N];
    for (size_t i = 0; i < N; i++) {
        s[i] = new_sequence(m, cache_of(TQ_TQ8), 4 * N + 1, 1, NULL);
        assert_ok(lm_prefill(m, s[i], 4 * i, f->tokens, NULL, NULL, NULL));
        tokens[i] = f->tokens[4 * i];
    }
    assert_ok(lm_decode(m, N, s, tokens, logits[0], NULL));
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(lm_sequence_length(s[i]), 4 * i + 1);
        assert_memory_equal(logits[i], alone + 4 * i * VOCAB, sizeof logits[i]);
        lm_sequence_free(s[i]);
    }
    free(alone);
    free(f);
    lm_model_free(m);
}

/* What all of the above rests on: equal rows of a block give equal results, and those of the same row in
 * another block, for every shape that a model may have. */
static void a_products_rows_do_not_know_their_place(void **state) {
    (void)state;
    enum { MOST = 1100, BLOCKS = 3 };
    const size_t shapes[][2] = {{1, 1},     {33, 7},    {256, 1},   {256, 127},  {256, 128}, {256, 200},
                                {256, 512}, {512, 256}, {640, 256}, {1024, 256}, {1100, 300}};
    rng r = {1};
    float *w = floats(MOST * 512), *x = floats(LM_ROWS * BLOCKS * MOST);
    float *y = floats(LM_ROWS * BLOCKS * 512), bias[512];
    rng_gauss_fill(&r, w, MOST * 512);
    rng_gauss_fill(&r, bias, 512);
    lm_products_set_up();
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const size_t in = shapes[i][0], out = shapes[i][1];
        rng_gauss_fill(&r, x, in);
        for (size_t row = 1; row < LM_ROWS * BLOCKS; row++)
            memcpy(x + row * in, x, in * sizeof *x);
        const lm_product p = {{w, LM_F32, out, in}, i % 2 == 0 ? bias : NULL, x, y};
        lm_products(NULL, LM_ROWS * BLOCKS, 1, &p);
        for (size_t row = 1; row < LM_ROWS * BLOCKS; row++)
            if (memcmp(y, y + row * out, out * sizeof *y) != 0)
                fail_msg("[%zu][%zu]: row %zu differs from row 0", out, in, row);
        for (size_t o = 0; o < out; o++) {
            double want = p.bias == NULL ? 0 : (double)bias[o], size = 1;
            for (size_t c = 0; c < in; c++) {
                want += (double)x[c] * (double)w[o * in + c];
                size += fabs((double)x[c] * (double)w[o * in + c]);
            }
            assert_true(fabs((double)y[o] - want) <= 1e-6 * size);
        }
    }
    free(w);
    free(x);
    free(y);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_products_rows_do_not_know_their_place),
        cmocka_unit_test(a_neighbour_changes_nothing),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(known_tokens_change_nothing),
        cmocka_unit_test(positions_are_each_sequences_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
