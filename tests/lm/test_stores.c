/* SPDX-License-Identifier: MIT
 * Each store keeps what it says, at the size it says, and costs what such a format may cost. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lm/half.h"
#include "lm_support.h"

static void halves_are_rounded_to_nearest(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) { /* every finite one, and the ties between them */
        const float x = lm_from_half((uint16_t)h),
                    next = h == 0x7bff ? 65536 : lm_from_half((uint16_t)(h + 1));
        const float tie = x + (next - x) / 2;
        assert_int_equal(lm_half(x), h);
        assert_int_equal(lm_half(-x), h | 0x8000);
        assert_int_equal(lm_half(tie), h % 2 == 0 ? h : h + 1);
        assert_int_equal(lm_half(nextafterf(tie, 0)), h);
        assert_int_equal(lm_half(nextafterf(tie, 65536)), h + 1);
    }
    assert_true(lm_from_half(1) == 0x1p-24f && lm_from_half(0x3c00) == 1 && lm_from_half(0xc000) == -2);
    assert_int_equal(lm_half(1e30f), 0x7c00);
    assert_true(isinf(lm_from_half(0xfc00)) && lm_from_half(0xfc00) < 0);
    assert_true(isnan(lm_from_half(0x7e00)) && isnan(lm_from_half(0xfc01)));
}

typedef struct cost {
    const char *name;
    lm_kv kv;
    double usual[N_MODELS]; /* mean divergence from float32 in nats, when this was written */
} cost;

/* A factor of 2.5 either way is for other instruction sets, which turn a rounding here and there into
 * another code. A store that does nothing, or the wrong thing, lies further off. */
static void stores_cost_what_they_did(void **state) {
    (void)state;
    enum { CHUNK = 20 };
    if (is_sanitized()) skip(); /* a figure: nothing for a sanitizer */
    lm_kv k_only = cache_of(TQ_TQ4), v_only = cache_of(TQ_TQ4), recent = cache_of(TQ_TQ4);
    k_only.v_dense = 1;
    v_only.k_dense = 1;
    recent.recent = 64;
    recent.sinks = 4;
    recent.learn_centre = 32;
    recent.centre_stretch = 100;
    const cost costs[] = {{"float16", {.store = LM_STORE_F16}, {1.65e-8, 4.1e-7}},
                          {"tq8", cache_of(TQ_TQ8), {6.5e-6, 5.8e-4}},
                          {"tq6", cache_of(TQ_TQ6), {1.0e-4, 8.8e-3}},
                          {"tq4", cache_of(TQ_TQ4), {1.8e-3, 0.20}},
                          {"tq4 keys", k_only, {1.6e-3, 0.20}},
                          {"tq4 values", v_only, {4.6e-4, 8.7e-4}},
                          {"tq4 with float16 and a centre", recent, {5.8e-5, 1.3e-4}},
                          {"q8_0", blocks_of(LM_Q8_0, 0), {7.7e-6, 6.1e-4}},
                          {"q8_0+rotate", blocks_of(LM_Q8_0, 1), {4.5e-6, 3.1e-4}},
                          {"q4_0", blocks_of(LM_Q4_0, 0), {1.6e-3, 0.10}}};
    for (size_t i = 0; i < N_MODELS; i++) {
        lm_model *m = load_model(i);
        fixture *f = load_fixture(i);
        float *plain =
            run_tokens(m, (lm_kv){.store = LM_STORE_F32}, f->tokens, FIXTURE_TOKENS, CHUNK, NULL);
        for (size_t c = 0; c < sizeof costs / sizeof costs[0]; c++) {
            float *logits = run_tokens(m, costs[c].kv, f->tokens, FIXTURE_TOKENS, CHUNK, NULL);
            const double seen = mean_divergence(plain, logits, FIXTURE_TOKENS);
            print_message("%s, %s: %.3g\n", model_names[i], costs[c].name, seen);
            if (!(seen >= costs[c].usual[i] / 2.5 && seen <= costs[c].usual[i] * 2.5))
                fail_msg("%s, %s: %g, not about %g", model_names[i], costs[c].name, seen,
                         costs[c].usual[i]);
            free(logits);
        }
        free(plain);
        free(f);
        lm_model_free(m);
    }
}

/* Rings of a chunk's length give what an array of all positions gives. */
static void rings_wrap(void **state) {
    (void)state;
    lm_kv codes = cache_of(TQ_TQ4);
    codes.arithmetic = TQ_ARITHMETIC_FLOAT; /* integers round by chunks, and a ring's lie elsewhere */
    const lm_kv kinds[] = {{.store = LM_STORE_F16}, codes, blocks_of(LM_Q8_0, 1)};
    lm_model *m = load_model(0);
    fixture *f = load_fixture(0);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        float *all = run_tokens(m, kinds[i], f->tokens, FIXTURE_TOKENS, FIXTURE_TOKENS, NULL);
        float *ring = run_tokens(m, kinds[i], f->tokens, FIXTURE_TOKENS, 7, NULL);
        /* Kept as they are, positions differ by nothing; only the order of sums does. Where encoding
         * turns that into another code, logits differ by more. */
        const double d = mean_divergence(all, ring, FIXTURE_TOKENS);
        print_message("store %d: %.3g\n", (int)kinds[i].store, d);
        assert_true(d < 1e-5);
        free(all);
        free(ring);
    }
    free(f);
    lm_model_free(m);
}

/* Values that a query sees after `length` tokens. */
static uint64_t count_values(const lm_model *m, size_t length) {
    uint64_t n = 0;
    for (size_t i = 0; i < lm_model_shape(m).n_layers; i++) {
        const lm_layer_shape s = lm_model_layer(m, i);
        const size_t seen = s.window != 0 && s.window < length ? (size_t)s.window : length;
        n += 2 * (uint64_t)seen * s.n_kv_heads * s.head_dim;
    }
    return n;
}

static void expect_bytes(const lm_model *m, lm_kv kv, const uint32_t *tokens, size_t length, size_t chunk,
                         uint64_t expected, const char *name) {
    uint64_t bytes, values;
    lm_sequence *s = new_sequence(m, kv, FIXTURE_TOKENS, chunk, NULL);
    assert_ok(lm_sequence_bytes(s, &bytes, &values));
    assert_true(bytes == 0 && values == 0);
    assert_ok(lm_prefill(m, s, length, tokens, NULL, NULL, NULL));
    assert_ok(lm_sequence_bytes(s, &bytes, &values));
    assert_int_equal(values, count_values(m, length));
    if (bytes != expected)
        fail_msg("%s after %zu: %llu bytes, not %llu", name, length, (unsigned long long)bytes,
                 (unsigned long long)expected);
    lm_sequence_free(s);
}

/* By hand for kjv-swa after n > 256 tokens: three layers of 2 heads of 256, of which 256 positions are
 * seen, and one of 1 head of 512, of which all are. */
static void bytes_are_counted(void **state) {
    (void)state;
    enum { N = 300, W = 256 };
    lm_model *m = load_model(0);
    fixture *f = load_fixture(0);
    const uint64_t vectors = 3 * 2 * W + N;                   /* of one side */
    const uint64_t numbers = 3 * 2 * W * 256ull + N * 512ull; /* of one side */
    lm_kv mixed = cache_of(TQ_TQ8), k_only = cache_of(TQ_TQ4);
    mixed.v_format = TQ_TQ3;
    k_only.v_dense = 1;
    k_only.sinks = 2; /* which queries of window layers no longer see */
    lm_kv blocks = blocks_of(LM_Q8_0, 1);
    blocks.v_block = LM_Q4_0;
    lm_kv v1 = cache_of(TQ_TQ5_V1);
    expect_bytes(m, (lm_kv){.store = LM_STORE_F32}, f->tokens, N, 9, 8 * numbers, "float32");
    expect_bytes(m, (lm_kv){.store = LM_STORE_F16}, f->tokens, N, 9, 4 * numbers, "float16");
    expect_bytes(m, blocks, f->tokens, N, 9, numbers * (34 + 18) / 32, "blocks");
    expect_bytes(m, mixed, f->tokens, N, 9, numbers * 11 / 8 + 4 * vectors, "tq8/tq3");
    const uint64_t sinks = 2 * (3 * 2 * 256 + 512), encoded = numbers - 2 * 512;
    expect_bytes(m, k_only, f->tokens, N, 9, 2 * sinks + encoded / 2 + 2 * (vectors - 2) + 4 * numbers,
                 "keys in tq4");
    /* v1 codes of 5 bits take a byte each; at 512 it has two norms. */
    expect_bytes(m, v1, f->tokens, N, 9, 2 * numbers + 8 * vectors + 8 * N, "tq5-v1");
    free(f);
    lm_model_free(m);
}

/* Bytes of tq4 with so many positions of window layers and of the global one encoded, and so many in
 * float16 and centres in each of either. */
static uint64_t tq4_bytes(uint64_t encoded, uint64_t encoded_global, uint64_t halves, uint64_t centres,
                          uint64_t centres_global) {
    const uint64_t window = encoded * (128 + 2) + halves * 512;
    const uint64_t global = encoded_global * (256 + 2) + halves * 1024;
    return 2 * (3 * 2 * window + global) + 2 * (3 * 2 * 256 * centres + 512 * centres_global);
}

/* By hand again: all layers hold the sinks 0 and 1; those with a window are seen from 44 on. */
static void centres_are_counted(void **state) {
    (void)state;
    enum { N = 300 };
    lm_model *m = load_model(0);
    fixture *f = load_fixture(0);
    lm_kv kv = cache_of(TQ_TQ4);
    kv.recent = 10;
    kv.sinks = 2;
    kv.learn_centre = 20;
    /* 20 keys after the sinks, and nothing is encoded before they are there. */
    expect_bytes(m, kv, f->tokens, 21, 9, tq4_bytes(0, 0, 21, 0, 0), "too few to be encoded");
    expect_bytes(m, kv, f->tokens, 22, 9, tq4_bytes(10, 10, 12, 1, 1), "just enough");
    expect_bytes(m, kv, f->tokens, N, 9, tq4_bytes(246, 288, 12, 1, 1), "one centre");
    kv.centre_stretch = 64;
    expect_bytes(m, kv, f->tokens, N, 9, tq4_bytes(246, 288, 12, 5, 5), "stretches of 64");
    kv.centre_stretch = 32; /* 288 begins one of which 12 keys are there; 44 lies in the second */
    expect_bytes(m, kv, f->tokens, N, 9, tq4_bytes(244, 286, 14, 8, 9), "stretches of 32");
    free(f);
    lm_model_free(m);
}

/* The first layer and the last in tq8, the two between in tq4. */
static void outer_layers_are_counted(void **state) {
    (void)state;
    enum { N = 300, W = 256 };
    lm_model *m = load_model(0);
    fixture *f = load_fixture(0);
    lm_kv kv = cache_of(TQ_TQ4);
    kv.edge = 1;
    expect_bytes(m, kv, f->tokens, N, 9, 2 * (2 * W * (258 + 130 + 130) + N * 514), "edge of 1");
    free(f);
    lm_model_free(m);
}

/* Where the two edges meet nothing is left of the format. */
static void a_wide_edge_is_tq8(void **state) {
    (void)state;
    enum { N = 60, CHUNK = 20 };
    lm_model *m = load_model(0);
    fixture *f = load_fixture(0);
    float *expected = run_tokens(m, cache_of(TQ_TQ8), f->tokens, N, CHUNK, NULL);
    for (size_t edge = 1; edge <= 3; edge++) {
        lm_kv kv = cache_of(TQ_TQ4);
        kv.edge = edge;
        float *logits = run_tokens(m, kv, f->tokens, N, CHUNK, NULL);
        const bool same = memcmp(logits, expected, sizeof(float[N][VOCAB])) == 0;
        assert_int_equal(same, edge >= 2); /* of 4 layers */
        free(logits);
    }
    free(expected);
    free(f);
    lm_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_are_rounded_to_nearest),
        cmocka_unit_test(stores_cost_what_they_did),
        cmocka_unit_test(rings_wrap),
        cmocka_unit_test(bytes_are_counted),
        cmocka_unit_test(centres_are_counted),
        cmocka_unit_test(outer_layers_are_counted),
        cmocka_unit_test(a_wide_edge_is_tq8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
