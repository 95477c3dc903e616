/* SPDX-License-Identifier: MIT
 * Logits are those of the models' fixtures, which PyTorch computed in float64, however tokens come. */
#include <stdlib.h>
#include <string.h>

#include "lm_support.h"

static const lm_kv plain = {.store = LM_STORE_F32};

/* models/README.md: "must come within 1e-4" of logits up to 24. */
static const double bound = 1e-4;

static void chunks_give_the_fixture(void **state) {
    (void)state;
    const size_t chunks[] = {0, 1, FIXTURE_TOKENS, 64, 7};
    const size_t n_chunks = is_sanitized() ? 1 : sizeof chunks / sizeof chunks[0];
    for (size_t i = 0; i < N_MODELS; i++) {
        lm_model *m = load_model(i);
        fixture *f = load_fixture(i);
        for (size_t c = 0; c < n_chunks; c++) {
            float *logits = run_tokens(m, plain, f->tokens, FIXTURE_TOKENS, chunks[c], NULL);
            double off = 0;
            for (size_t r = 0; r < FIXTURE_ROWS; r++) {
                const double d =
                    largest_difference(logits + f->positions[r] * VOCAB, f->logits[r], VOCAB);
                if (!(d <= off)) off = d;
            }
            print_message("%s, chunk %zu: off by %.2g\n", model_names[i], chunks[c], off);
            assert_true(off <= bound);
            free(logits);
        }
        free(f);
        lm_model_free(m);
    }
}

/* Past the window of 256: decoding reads rings that have wrapped, the prefill an array of everything.
 * Sums of attention are in another order, so 24 is off by some units in its last place, 1.9e-6. */
static void decoding_is_prefilling(void **state) {
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        lm_model *m = load_model(i);
        fixture *f = load_fixture(i);
        float *at_once = run_tokens(m, plain, f->tokens, FIXTURE_TOKENS, FIXTURE_TOKENS, NULL);
        float *one_by_one = run_tokens(m, plain, f->tokens, FIXTURE_TOKENS, 0, NULL);
        const double off = largest_difference(at_once, one_by_one, FIXTURE_TOKENS * VOCAB);
        print_message("%s: off by %.2g\n", model_names[i], off);
        assert_true(off <= 2e-6 * 24);
        free(at_once);
        free(one_by_one);
        free(f);
        lm_model_free(m);
    }
}

/* `last`, all logits and those of tokens in two calls are the same rows. */
static void last_is_the_last_row(void **state) {
    (void)state;
    enum { N = 23, CHUNK = 5 };
    lm_model *m = load_model(0);
    fixture *f = load_fixture(0);
    float *all = floats(N * VOCAB), *both = floats(VOCAB), *alone = floats(VOCAB);
    lm_sequence *a = new_sequence(m, plain, N, CHUNK, NULL), *b = new_sequence(m, plain, N, CHUNK, NULL);
    assert_ok(lm_prefill(m, a, N, f->tokens, all, both, NULL));
    assert_ok(lm_prefill(m, b, 2 * CHUNK, f->tokens, NULL, NULL, NULL));
    assert_ok(lm_prefill(m, b, 0, NULL, NULL, NULL, NULL));
    assert_ok(lm_prefill(m, b, N - 2 * CHUNK, f->tokens + 2 * CHUNK, NULL, alone, NULL));
    assert_memory_equal(both, all + (N - 1) * VOCAB, VOCAB * sizeof *all);
    assert_memory_equal(alone, both, VOCAB * sizeof *all);
    lm_sequence_free(a);
    lm_sequence_free(b);
    free(all);
    free(both);
    free(alone);
    free(f);
    lm_model_free(m);
}

static void shapes_are_the_files(void **state) {
    (void)state;
    lm_model *m = load_model(0);
    const lm_shape s = lm_model_shape(m);
    const lm_layer_shape local = lm_model_layer(m, 0), global = lm_model_layer(m, 3);
    assert_string_equal(s.name, "kjv-swa");
    assert_int_equal(s.vocab, VOCAB);
    assert_int_equal(s.width, 256);
    assert_int_equal(s.n_layers, 4);
    assert_int_equal(s.qkv_bias, 0);
    assert_int_equal(s.qk_norm, 1);
    assert_int_equal(s.n_parameters * 2 + 8 + 5496, 9714560); /* bytes of the file and its header */
    assert_true(local.n_heads == 4 && local.n_kv_heads == 2 && local.head_dim == 256);
    assert_true(local.window == 256 && local.attention_scale == 0.0625f);
    assert_true(global.n_heads == 2 && global.n_kv_heads == 1 && global.head_dim == 512);
    assert_int_equal(global.window, 0);
    lm_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_are_the_files),
        cmocka_unit_test(chunks_give_the_fixture),
        cmocka_unit_test(decoding_is_prefilling),
        cmocka_unit_test(last_is_the_last_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
