/* SPDX-License-Identifier: MIT
 * Blocks round as they say, cost what such rounding costs, and are helped as caches are. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lm/blocks.h"
#include "lm_support.h"
#include "support/rng.h"

static const char *const names[LM_N_BLOCKS] = {"q8_0", "q5_0", "q4_0", "iq4_nl"};

static void expect(lm_block block, const float *from, const float *want) {
    float x[32];
    memcpy(x, from, sizeof x);
    assert_true(lm_blocks_round(block, x, 32));
    for (size_t i = 0; i < 32; i++)
        if (!(x[i] == want[i]))
            fail_msg("%s, value %zu: %g becomes %g, not %g", names[block], i, (double)from[i],
                     (double)x[i], (double)want[i]);
}

/* By hand: the scale's sign, the end with a step more, the one with a step less, ties. */
static void uniform_blocks_follow_their_rule(void **state) {
    (void)state;
    const float a[32] = {-8, 8, 7.4f, 0.5f, -0.5f, 0.49f, -7.5f}, a_4[32] = {-8, 7, 7, 1, 0, 0, -7};
    expect(LM_Q4_0, a, a_4);
    const float b[32] = {16, -16, 3, -3, 1}; /* m = 16: d = -2, codes 0, 15, 7, 10, 8 */
    const float b_4[32] = {16, -14, 2, -4, -0.0f};
    expect(LM_Q4_0, b, b_4);
    const float c[32] = {-16, 16, 15.4f, 0.5f, -0.5f, 0.49f, -15.5f};
    const float c_5[32] = {-16, 15, 15, 1, 0, 0, -15};
    expect(LM_Q5_0, c, c_5);
    const float d[32] = {127, -126.6f, 0.5f, -0.5f, 0.4f, 63.2f}, d_8[32] = {127, -127, 1, -1, 0, 63};
    expect(LM_Q8_0, d, d_8);
}

/* What lies on the table stays, whichever end has the minus; halfway goes up. */
static void a_table_follows_its_rule(void **state) {
    (void)state;
    const float table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    float x[32], y[32];
    for (size_t i = 0; i < 32; i++) {
        x[i] = table[i % 16] / 2;
        y[i] = -x[i];
    }
    expect(LM_IQ4_NL, x, x);
    expect(LM_IQ4_NL, y, y);
    memcpy(y, x, sizeof y);
    y[3] = 4; /* nearer to 6.5 than to 0.5, in a block where the others hold the scale */
    assert_true(lm_blocks_round(LM_IQ4_NL, y, 32));
    assert_true(fabsf(y[3] - 6.5f) < 0.1f);
}

static void scales_are_float16(void **state) {
    (void)state;
    const double bits[LM_N_BLOCKS] = {8.5, 5.5, 4.5, 4.5};
    for (unsigned b = 0; b < LM_N_BLOCKS; b++) {
        float tiny[32] = {1e-40f, -1e-42f}, none[32] = {0}, huge[32] = {3e7f, 1};
        assert_true(lm_blocks_round((lm_block)b, tiny, 32) && tiny[0] == 0 && tiny[1] == 0);
        assert_true(lm_blocks_round((lm_block)b, none, 32) && none[0] == 0 && none[31] == 0);
        assert_false(lm_blocks_round((lm_block)b, huge, 32));
        assert_true((double)lm_block_bytes((lm_block)b) * 8 == bits[b] * 32);
    }
}

static double gaussian_error(lm_block block) {
    enum { N = 32 * 2048 };
    double error = 0, size = 0;
    rng r = {7};
    float *x = floats(N), *y = floats(N);
    rng_gauss_fill(&r, x, N);
    memcpy(y, x, N * sizeof *x);
    assert_true(lm_blocks_round(block, y, N));
    for (size_t j = 0; j < N; j++) {
        error += (double)(y[j] - x[j]) * (double)(y[j] - x[j]);
        size += (double)x[j] * (double)x[j];
    }
    free(x);
    free(y);
    print_message("%s: %.3g\n", names[block], error / size);
    return error / size;
}

/* Relative squared errors on Gaussian data, near uniform rounding's; the table is better at it. */
static void blocks_cost_what_rounding_costs(void **state) {
    (void)state;
    const double least[LM_N_BLOCKS] = {1e-5, 0.001, 0.004, 0.004};
    const double most[LM_N_BLOCKS] = {6e-5, 0.003, 0.012, 0.009};
    double error[LM_N_BLOCKS];
    for (unsigned b = 0; b < LM_N_BLOCKS; b++) {
        error[b] = gaussian_error((lm_block)b);
        assert_true(error[b] > least[b] && error[b] < most[b]);
    }
    assert_true(error[LM_IQ4_NL] < 0.95 * error[LM_Q4_0]);
}

static lm_kv helped(lm_kv kv, size_t recent, size_t sinks, size_t learn, size_t stretch) {
    kv.recent = recent;
    kv.sinks = sinks;
    kv.learn_centre = learn;
    kv.centre_stretch = stretch;
    return kv;
}

static uint64_t bytes_after(const lm_model *m, lm_kv kv, const uint32_t *tokens, size_t n) {
    uint64_t bytes, values;
    lm_sequence *s = new_sequence(m, kv, FIXTURE_TOKENS, 9, NULL);
    assert_ok(lm_prefill(m, s, n, tokens, NULL, NULL, NULL));
    assert_ok(lm_sequence_bytes(s, &bytes, &values));
    lm_sequence_free(s);
    return bytes;
}

/* A cache of tq4 and blocks of 4 bits hold the same positions in float16 and the same centres: they
 * differ by what a vector takes, 130 and 144 bytes of 256 values, 258 and 288 of 512. By hand after 300
 * positions, of which window layers show 256: 10 are recent, 2 are sinks. */
static void what_helps_is_counted_as_in_a_cache(void **state) {
    (void)state;
    const size_t lengths[] = {1, 2, 11, 21, 22, 100, 256, 257, 300, 400};
    const size_t step = is_sanitized() ? 5 : 1;
    const lm_kv plain[] = {cache_of(TQ_TQ4), blocks_of(LM_IQ4_NL, 1)};
    lm_model *m = load_model(0);
    fixture *f = load_fixture(0);
    const uint64_t window = 246 * 144 + 12 * 512, all = 288 * 288 + 12 * 1024;
    assert_int_equal(bytes_after(m, helped(plain[1], 10, 2, 0, 0), f->tokens, 300),
                     2 * (3 * 2 * window + all));
    const lm_kv helps[] = {helped(plain[0], 10, 0, 0, 0), helped(plain[0], 0, 2, 0, 0),
                           helped(plain[0], 10, 2, 20, 32), helped(plain[0], 300, 2, 20, 64),
                           helped(plain[0], 0, 40, 20, 0)};
    for (size_t i = 0; i < sizeof helps / sizeof helps[0]; i++) {
        const lm_kv h = helps[i];
        const lm_kv b = helped(plain[1], h.recent, h.sinks, h.learn_centre, h.centre_stretch);
        for (size_t j = i % step; j < sizeof lengths / sizeof lengths[0]; j += step) {
            const size_t n = lengths[j], seen = n < 256 ? n : 256;
            const uint64_t halves = 2 * (3 * 2 * seen * 512ull + n * 1024ull);
            const uint64_t cache = bytes_after(m, h, f->tokens, n);
            const uint64_t blocks = bytes_after(m, b, f->tokens, n);
            /* Vectors that are encoded, of 256 values: those of 512 count twice, and differ by 30. */
            assert_int_equal((blocks - cache) % 2, 0);
            assert_true(blocks >= cache && (blocks == cache) == (cache >= halves));
        }
    }
    free(f);
    lm_model_free(m);
}

static float *decode(const lm_model *m, lm_kv kv, const uint32_t *tokens, size_t chunk) {
    float *logits = floats(FIXTURE_TOKENS * VOCAB);
    lm_sequence *s = new_sequence(m, kv, FIXTURE_TOKENS, chunk, NULL);
    for (size_t i = 0; i < FIXTURE_TOKENS; i++)
        assert_ok(lm_prefill(m, s, 1, tokens + i, logits + i * VOCAB, NULL, NULL));
    lm_sequence_free(s);
    return logits;
}

/* Token by token, rings of the window give what arrays of all positions give. */
static void helped_rings_wrap(void **state) {
    (void)state;
    const lm_kv kinds[] = {helped(blocks_of(LM_Q4_0, 1), 20, 2, 20, 64),
                           helped(blocks_of(LM_Q8_0, 0), 300, 0, 10, 0),
                           helped(blocks_of(LM_IQ4_NL, 0), 0, 3, 256, 256)};
    lm_model *m = load_model(0);
    fixture *f = load_fixture(0);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        float *all = decode(m, kinds[i], f->tokens, FIXTURE_TOKENS);
        float *ring = decode(m, kinds[i], f->tokens, 1);
        const double d = mean_divergence(all, ring, FIXTURE_TOKENS);
        print_message("kind %zu: %.3g\n", i, d);
        assert_true(d < 1e-5);
        free(all);
        free(ring);
    }
    free(f);
    lm_model_free(m);
}

/* All recent is float16; else a centre, recent positions and sinks each take what they are for. */
static void what_helps_helps(void **state) {
    (void)state;
    if (is_sanitized()) skip(); /* a figure: nothing for a sanitizer */
    const lm_kv bare = blocks_of(LM_Q4_0, 1), half = {.store = LM_STORE_F16};
    const lm_kv kinds[] = {half,
                           helped(bare, FIXTURE_TOKENS, 0, 0, 0),
                           bare,
                           helped(bare, 0, 0, 32, 100),
                           helped(bare, 64, 0, 0, 0),
                           helped(bare, 64, 1, 32, 100)};
    double d[sizeof kinds / sizeof kinds[0]];
    lm_model *m = load_model(1);
    fixture *f = load_fixture(1);
    float *plain = decode(m, (lm_kv){.store = LM_STORE_F32}, f->tokens, 1);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        float *logits = decode(m, kinds[i], f->tokens, 1);
        d[i] = mean_divergence(plain, logits, FIXTURE_TOKENS);
        print_message("kind %zu: %.3g\n", i, d[i]);
        free(logits);
    }
    assert_true(d[1] < 1.5 * d[0] && d[0] < 1.5 * d[1]);
    assert_true(d[3] < 0.1 * d[2] && d[4] < 0.5 * d[2] && d[5] < 0.5 * d[3]);
    free(plain);
    free(f);
    lm_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform_blocks_follow_their_rule),
        cmocka_unit_test(a_table_follows_its_rule),
        cmocka_unit_test(scales_are_float16),
        cmocka_unit_test(blocks_cost_what_rounding_costs),
        cmocka_unit_test(what_helps_is_counted_as_in_a_cache),
        cmocka_unit_test(helped_rings_wrap),
        cmocka_unit_test(what_helps_helps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
