/* SPDX-License-Identifier: MIT
 * Logits of other people's models: tiny ones of three architectures, whose logits transformers computed
 * (models/make-tiny), and the real ones that models/get fetches, where they are. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lm_support.h"
#include "support/guard.h"
#include "tqkv/io.h"

static const lm_kv plain = {.store = LM_STORE_F32};

static uint32_t item(const tq_raw_tensor *t, size_t i) {
    uint32_t x = 0;
    for (size_t b = 0; b < t->item_size; b++)
        x |= (uint32_t)t->bytes[i * t->item_size + b] << 8 * b;
    return x;
}

static float real(const tq_raw_tensor *t, size_t i) {
    const uint32_t bits = item(t, i);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static tq_raw_tensor tensor(const tq_safetensors *file, const char *name) {
    tq_raw_tensor t;
    assert_ok(tq_safetensors_tensor(file, name, &t));
    return t;
}

static uint32_t *tokens_of(const tq_safetensors *file, size_t *n) {
    const tq_raw_tensor t = tensor(file, "tokens");
    uint32_t *tokens = test_alloc(t.n_values * sizeof *tokens);
    *n = t.n_values;
    for (size_t i = 0; i < *n; i++)
        tokens[i] = item(&t, i);
    return tokens;
}

/* Logits [n][vocab] in chunks, or with chunk 0 one by one. */
static float *logits_of(const lm_model *m, const uint32_t *tokens, size_t n, size_t chunk) {
    const size_t vocab = lm_model_shape(m).vocab;
    float *logits = floats(n * vocab);
    lm_sequence *s = new_sequence(m, plain, n, chunk == 0 ? 1 : chunk, NULL);
    if (chunk > 0) assert_ok(lm_prefill(m, s, n, tokens, logits, NULL, NULL));
    for (size_t i = 0; chunk == 0 && i < n; i++)
        assert_ok(lm_decode(m, 1, &s, tokens + i, logits + i * vocab, NULL));
    lm_sequence_free(s);
    return logits;
}

/* transformers takes norms, softmax and RoPE in float32, as lm/ does everything: logits up to 10. */
static void tiny_models_give_their_logits(void **state) {
    (void)state;
    static const char *const names[] = {"tiny-llama", "tiny-qwen2", "tiny-gemma3"};
    const size_t chunks[] = {40, 0, 7};
    for (size_t i = 0; i < 3; i++) {
        char path[1024];
        lm_model *m;
        tq_safetensors *file;
        size_t n;
        snprintf(path, sizeof path, "%s/fixtures/%s.safetensors", TQKV_TEST_DIR, names[i]);
        assert_ok(lm_model_load(path, &m));
        snprintf(path, sizeof path, "%s/fixtures/fixture-%s.safetensors", TQKV_TEST_DIR, names[i]);
        assert_ok(tq_safetensors_read(path, &file));
        uint32_t *tokens = tokens_of(file, &n);
        const tq_raw_tensor positions = tensor(file, "positions"), wanted = tensor(file, "logits");
        const size_t vocab = lm_model_shape(m).vocab;
        assert_int_equal(wanted.n_values, positions.n_values * vocab);
        for (size_t c = 0; c < 3; c++) {
            float *logits = logits_of(m, tokens, n, chunks[c]);
            double off = 0, most = 0;
            for (size_t j = 0; j < wanted.n_values; j++) {
                const double want = (double)real(&wanted, j);
                const size_t at = item(&positions, j / vocab) * vocab + j % vocab;
                const double d = fabs((double)logits[at] - want);
                if (!(d <= off)) off = d;
                if (fabs(want) > most) most = fabs(want);
            }
            print_message("%s, chunk %zu: off by %.2g of %.3g\n", names[i], chunks[c], off, most);
            assert_true(off <= 1e-5 * most);
            free(logits);
        }
        free(tokens);
        tq_safetensors_free(file);
        lm_model_free(m);
    }
}

static void tokens_have_their_texts(void **state) {
    (void)state;
    char path[1024];
    lm_model *m;
    size_t n;
    snprintf(path, sizeof path, "%s/fixtures/tiny-llama.safetensors", TQKV_TEST_DIR);
    assert_ok(lm_model_load(path, &m));
    assert_non_null(lm_model_token(m, 65, &n));
    assert_int_equal(n, 1);
    assert_int_equal(*lm_model_token(m, 65, &n), 65);
    assert_non_null(lm_model_token(m, 299, &n));
    assert_null(lm_model_token(m, 300, &n));
    assert_int_equal(n, 0);
    assert_true(lm_model_ends(m, 299) && !lm_model_ends(m, 298) && !lm_model_ends(m, 300));
    lm_model_free(m);
}

/* A real model's fixture has the likeliest 64 tokens of each position. Over these and the rest, taken as
 * one more outcome, the divergence is at most the whole one, which it all but is. */
static double divergence(const tq_raw_tensor *ids, const tq_raw_tensor *log_p, size_t row,
                         const float *logits, size_t vocab) {
    const size_t n = ids->shape[1];
    double most = -INFINITY, all = 0, kl = 0, p_left = 1, q_left = 1;
    for (size_t i = 0; i < vocab; i++)
        most = fmax(most, (double)logits[i]);
    for (size_t i = 0; i < vocab; i++)
        all += exp((double)logits[i] - most);
    for (size_t i = 0; i < n; i++) {
        const double lp = (double)real(log_p, row * n + i);
        const double lq = (double)logits[item(ids, row * n + i)] - most - log(all);
        kl += exp(lp) * (lp - lq);
        p_left -= exp(lp);
        q_left -= exp(lq);
    }
    return kl + (p_left > 1e-9 && q_left > 1e-9 ? p_left * log(p_left / q_left) : 0);
}

static void check_fetched(const char *name, const char *model) {
    char path[1024];
    tq_safetensors *file;
    lm_model *m;
    size_t n;
    snprintf(path, sizeof path, "%s/fixture-%s.safetensors", TQKV_MODELS, name);
    assert_ok(tq_safetensors_read(path, &file));
    assert_ok(lm_model_load(model, &m));
    uint32_t *tokens = tokens_of(file, &n);
    const tq_raw_tensor positions = tensor(file, "positions"), ids = tensor(file, "ids"),
                        log_p = tensor(file, "log_p");
    const size_t vocab = lm_model_shape(m).vocab;
    float *logits = logits_of(m, tokens, n, 64);
    double sum = 0;
    for (size_t r = 0; r < positions.n_values; r++)
        sum += divergence(&ids, &log_p, r, logits + item(&positions, r) * vocab, vocab);
    const double mean = sum / (double)positions.n_values;
    print_message("%s: mean KL to transformers %.2g\n", name, mean);
    assert_true(fabs(mean) < 1e-6);
    free(logits);
    free(tokens);
    tq_safetensors_free(file);
    lm_model_free(m);
}

/* TQKV_FETCHED: where models/get puts them. */
static void fetched_models_give_their_probabilities(void **state) {
    (void)state;
    static const char *const names[] = {"smollm2", "gemma3", "qwen2.5"};
    size_t checked = 0;
    for (size_t i = 0; i < 3; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s/model.safetensors", TQKV_FETCHED, names[i]);
        if (access(path, R_OK) != 0) {
            print_message("%s: not fetched (models/get %s)\n", names[i], names[i]);
            continue;
        }
        check_fetched(names[i], path);
        checked++;
    }
    if (checked == 0) skip();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_models_give_their_logits),
        cmocka_unit_test(tokens_have_their_texts),
        cmocka_unit_test(fetched_models_give_their_probabilities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
