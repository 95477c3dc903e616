/* SPDX-License-Identifier: MIT
 * What the language model tests share. */
#include "lm_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/guard.h"
#include "tqkv/io.h"

const char *const model_names[N_MODELS] = {"kjv-swa", "kjv-bias"};

void check_ok(tq_status got, const char *file, int line) {
    if (got == TQ_OK) return;
    print_error("%s:%d: %s, '%s'\n", file, line, tq_status_name(got), tq_last_error()->message);
    fail();
}

lm_model *load_model(size_t i) {
    char path[1024];
    lm_model *m;
    snprintf(path, sizeof path, "%s/%s.safetensors", TQKV_MODELS, model_names[i]);
    assert_ok(lm_model_load(path, &m));
    return m;
}

static const uint8_t *raw(const tq_safetensors *file, const char *name, const char *type, size_t n) {
    tq_raw_tensor t;
    assert_ok(tq_safetensors_tensor(file, name, &t));
    assert_string_equal(t.type, type);
    assert_int_equal(t.n_values, n);
    return t.bytes;
}

static uint32_t little(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

fixture *load_fixture(size_t i) {
    char path[1024];
    tq_safetensors *file;
    fixture *f = test_alloc(sizeof *f);
    snprintf(path, sizeof path, "%s/fixture-%s.safetensors", TQKV_MODELS, model_names[i]);
    assert_ok(tq_safetensors_read(path, &file));
    const uint8_t *tokens = raw(file, "tokens", "U8", FIXTURE_TOKENS);
    for (size_t t = 0; t < FIXTURE_TOKENS; t++)
        f->tokens[t] = tokens[t];
    const uint8_t *positions = raw(file, "positions", "I32", FIXTURE_ROWS);
    const uint8_t *logits = raw(file, "logits", "F32", FIXTURE_ROWS * VOCAB);
    for (size_t r = 0; r < FIXTURE_ROWS; r++) {
        f->positions[r] = little(positions + 4 * r);
        assert_true(f->positions[r] < FIXTURE_TOKENS);
        for (size_t c = 0; c < VOCAB; c++) {
            const uint32_t bits = little(logits + 4 * (r * VOCAB + c));
            memcpy(&f->logits[r][c], &bits, sizeof bits);
        }
    }
    tq_safetensors_free(file);
    return f;
}

float *floats(size_t n) {
    float *x = test_alloc(n * sizeof *x);
    memset(x, 0, n * sizeof *x);
    return x;
}

lm_sequence *new_sequence(const lm_model *m, lm_kv kv, size_t capacity, size_t chunk,
                          const tq_parallel *parallel) {
    lm_sequence *s;
    assert_ok(lm_sequence_create(m, &kv, capacity, chunk, parallel, &s));
    return s;
}

float *run_tokens(const lm_model *m, lm_kv kv, const uint32_t *tokens, size_t n, size_t chunk,
                  const tq_parallel *parallel) {
    float *logits = floats(n * VOCAB);
    lm_sequence *s = new_sequence(m, kv, n, chunk == 0 ? 1 : chunk, parallel);
    if (chunk > 0) assert_ok(lm_prefill(m, s, n, tokens, logits, NULL, NULL));
    for (size_t i = 0; chunk == 0 && i < n; i++)
        assert_ok(lm_decode(m, 1, &s, tokens + i, logits + i * VOCAB, NULL));
    assert_int_equal(lm_sequence_length(s), n);
    lm_sequence_free(s);
    return logits;
}

double largest_difference(const float *a, const float *b, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= most)) most = d; /* a NaN stays */
    }
    return most;
}

static double log_sum(const float *x) {
    double most = (double)x[0], sum = 0;
    for (size_t i = 1; i < VOCAB; i++)
        most = fmax(most, (double)x[i]);
    for (size_t i = 0; i < VOCAB; i++)
        sum += exp((double)x[i] - most);
    return most + log(sum);
}

double mean_divergence(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t r = 0; r < n; r++, a += VOCAB, b += VOCAB) {
        const double la = log_sum(a), lb = log_sum(b);
        for (size_t i = 0; i < VOCAB; i++)
            sum += exp((double)a[i] - la) * ((double)a[i] - la - (double)b[i] + lb);
    }
    return sum / (double)n;
}

lm_kv cache_of(tq_format format) {
    return (lm_kv){.store = LM_STORE_CACHE, .k_format = format, .v_format = format};
}

lm_kv blocks_of(lm_block block, int rotate) {
    return (lm_kv){.store = LM_STORE_BLOCKS, .k_block = block, .v_block = block, .rotate = rotate};
}

bool is_sanitized(void) {
    return getenv("TQKV_SANITIZED") != NULL;
}
