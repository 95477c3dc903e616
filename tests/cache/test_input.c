/* SPDX-License-Identifier: MIT
 * Vectors as models have them, of any type and stride: the bytes are those of plain appending. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "broken.h"
#include "setup.h"
#include "support/cm.h"

static void append_drawn_way(beside *b, size_t n, unsigned way, rng *r) {
    float *k, *v;
    new_vectors(b->model, n, &k, &v);
    draw_vectors(b->model, n, r, k, v);
    assert_int_equal(beside_append_way(b, n, k, v, way), TQ_OK);
    free(k);
    free(v);
}

/* Short calls, and one that is cut into tasks. */
static void every_way(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++) {
        setup s;
        beside b;
        rng r = {kind + 1};
        setup_open(&s, kind, kind % SETUP_CODECS, 1 + kind % 3);
        setup_cache(&s, &b);
        for (unsigned way = 0; way < BESIDE_WAYS; way++)
            append_drawn_way(&b, 1 + rng_below(&r, 6), (way + kind) % BESIDE_WAYS, &r);
        beside_close(&b);
        setup_close(&s);
    }
}

static void long_calls(void **state) {
    (void)state;
    for (unsigned i = 0; i < 2 * BESIDE_WAYS; i++) {
        const unsigned kind = i < BESIDE_WAYS ? 0 : 25; /* 25 has recent positions and centres */
        setup s;
        beside b;
        rng r = {i + 1};
        setup_open(&s, kind, i % SETUP_CHEAP, 3);
        s.config.capacity = 1000;
        setup_cache(&s, &b);
        append_drawn_way(&b, 900, i % BESIDE_WAYS, &r);
        beside_close(&b);
        setup_close(&s);
    }
}

/* Each type rounds to what it can hold: what a cache of that type has is what it was given. */
static void dense_sides_keep_their_type(void **state) {
    (void)state;
    enum { G = 2, D = 32 };
    uint16_t x[G * D];
    for (size_t i = 0; i < G * D; i++)
        x[i] = (uint16_t)(0x3c00 + 37 * i); /* no NaN of either type */
    for (int bf16 = 0; bf16 < 2; bf16++) {
        const tq_store store = bf16 ? TQ_STORE_BF16 : TQ_STORE_F16;
        const tq_cache_config c = {.size = sizeof c,
                                   .layer = {.n_kv_heads = G,
                                             .k = {.head_dim = D},
                                             .v = {.head_dim = D},
                                             .k_store = store,
                                             .v_store = store},
                                   .capacity = 5};
        const tq_cache_input in = {.size = sizeof in,
                                   .type = bf16 ? TQ_BF16 : TQ_F16,
                                   .k = x,
                                   .v = x,
                                   .n_k = G * D,
                                   .n_v = G * D};
        tq_segment s[TQ_CACHE_SEGMENTS];
        tq_cache *cache;
        size_t n;
        assert_int_equal(tq_cache_create(&c, &cache), TQ_OK);
        assert_int_equal(tq_cache_append_input(cache, 1, &in), TQ_OK);
        assert_int_equal(tq_cache_segments(cache, s, &n), TQ_OK);
        assert_true(n == 1 && s[0].v.store == store);
        for (size_t g = 0; g < G; g++)
            assert_memory_equal((const char *)s[0].v.blocks[0] + g * s[0].v.head_stride, x + g * D,
                                D * sizeof *x);
        tq_cache_destroy(cache);
    }
}

typedef struct bad_input {
    tq_cache_input input;
    size_t n;
    tq_status status;
    const char *field;
} bad_input;

/* What is wrong is named, and nothing has changed. */
static void inputs_refused(void **state) {
    (void)state;
    enum { G = 2, D = 32, N = 3, ALL = N * G * D };
    static float x[2 * ALL];
    const tq_cache_input good = {.size = sizeof good, .k = x, .v = x, .n_k = ALL, .n_v = ALL};
    bad_input bad[16];
    size_t n_bad = 0;
    setup s;
    beside b;
    rng r = {3};
#define BAD(change, positions, want, name)                                                               \
    do {                                                                                                 \
        bad[n_bad] = (bad_input){good, positions, want, name};                                           \
        bad[n_bad++].input.change;                                                                       \
    } while (0)
    BAD(size = 0, N, TQ_E_SIZE, "size");
    BAD(size = sizeof good - 1, N, TQ_E_SIZE, "size");
    BAD(size = sizeof good + 1, 0, TQ_E_SIZE, "size");
    BAD(type = (tq_type)3, N, TQ_E_FORMAT, "type");
    BAD(type = (tq_type)-1, N, TQ_E_FORMAT, "type");
    BAD(k = NULL, N, TQ_E_NULL, "k");
    BAD(v = NULL, N, TQ_E_NULL, "v");
    BAD(n_k = ALL - 1, N, TQ_E_SIZE, "k");
    BAD(n_v = ALL - 1, N, TQ_E_SIZE, "v");
    BAD(k_position_stride = G * D - 1, N, TQ_E_STRIDE, "k");
    BAD(v_head_stride = D - 1, N, TQ_E_STRIDE, "v");
    BAD(k_head_stride = 2 * D, N, TQ_E_SIZE, "k");
    BAD(v_position_stride = SIZE_MAX / 2, N, TQ_E_OVERFLOW, "v");
    BAD(k_head_stride = SIZE_MAX / 2 + 1, N, TQ_E_OVERFLOW, "k");
    BAD(n_k = ALL, N + 1, TQ_E_SIZE, "k");
    setup_open(&s, 0, 0, G);
    setup_cache(&s, &b);
    assert_int_equal(beside_append_drawn(&b, 5, &r), TQ_OK);
    for (size_t i = 0; i < n_bad; i++)
        beside_refused(&b, tq_cache_append_input(b.cache, bad[i].n, &bad[i].input), bad[i].status,
                       bad[i].field);
    beside_refused(&b, tq_cache_append_input(NULL, N, &good), TQ_E_NULL, "cache");
    beside_refused(&b, tq_cache_append_input(b.cache, N, NULL), TQ_E_NULL, "input");
    assert_int_equal(tq_cache_append_input(b.cache, 0, &good), TQ_OK);
    beside_check(&b);
    beside_close(&b);
    setup_close(&s);
}

/* A value that cannot be kept is named by its place in the caller's array. */
static void values_refused(void **state) {
    (void)state;
    enum { G = 3, D = 32, N = 4, STRIDE = 2 * G * D };
    static uint16_t x[N * STRIDE];
    static const uint16_t nan[] = {0, 0x7e00, 0x7fc0}, infinite[] = {0, 0xfc00, 0xff80};
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++) {
        setup s;
        beside b;
        rng r = {kind + 1};
        setup_open(&s, kind, 0, G);
        setup_cache(&s, &b);
        assert_int_equal(beside_append_drawn(&b, 13, &r), TQ_OK);
        for (int type = TQ_F16; type <= TQ_BF16; type++) {
            const tq_cache_input in = {.size = sizeof in,
                                       .type = (tq_type)type,
                                       .k = x,
                                       .v = x + G * D,
                                       .n_k = N * STRIDE,
                                       .n_v = (N - 1) * STRIDE + G * D,
                                       .k_position_stride = STRIDE,
                                       .v_position_stride = STRIDE};
            const size_t at = rng_below(&r, N) * STRIDE + rng_below(&r, G * D);
            x[at] = nan[type];
            beside_refused(&b, tq_cache_append_input(b.cache, N, &in), TQ_E_NOT_FINITE, "k");
            assert_int_equal(tq_last_error()->index, at);
            x[at] = 0;
            x[at + G * D] = infinite[type];
            beside_refused(&b, tq_cache_append_input(b.cache, N, &in), TQ_E_NOT_FINITE, "v");
            assert_int_equal(tq_last_error()->index, at);
            x[at + G * D] = type == TQ_BF16 ? 0x7f00 : 0; /* 2^127 */
            if (type == TQ_BF16)
                beside_refused(&b, tq_cache_append_input(b.cache, N, &in), TQ_E_RANGE, "v");
            x[at + G * D] = 0;
        }
        beside_close(&b);
        setup_close(&s);
    }
}

/* A call that is encoded before all of it has been looked at. */
static void a_late_fault(void **state) {
    (void)state;
    enum { N = 700, G = 2, D = 80, STRIDE = (1 + 2 * G) * D, ALL = N * STRIDE };
    for (int type = TQ_F32; type <= TQ_BF16; type++) {
        const size_t size = type == TQ_F32 ? sizeof(float) : sizeof(uint16_t), at = (N - 3) * STRIDE + 5;
        const uint32_t nan = type == TQ_F32 ? 0x7fc00000 : type == TQ_F16 ? 0x7e00 : 0x7fc0;
        char *x = zeroed(ALL, size);
        const tq_cache_input in = {.size = sizeof in,
                                   .type = (tq_type)type,
                                   .k = x,
                                   .v = x + G * D * size,
                                   .n_k = ALL,
                                   .n_v = ALL - G * D,
                                   .k_position_stride = STRIDE,
                                   .v_position_stride = STRIDE};
        setup s;
        beside b;
        rng r = {8};
        setup_open(&s, 0, 1, G);
        s.config.capacity = 2 * N;
        setup_cache(&s, &b);
        assert_int_equal(beside_append_drawn(&b, 30, &r), TQ_OK);
        const size_t held = s.memory.held;
        memcpy(x + (at + G * D) * size, &nan, size); /* of a value */
        beside_refused(&b, tq_cache_append_input(b.cache, N, &in), TQ_E_NOT_FINITE, "v");
        assert_int_equal(tq_last_error()->index, at);
        assert_int_equal(s.memory.held, held);
        beside_close(&b);
        setup_close(&s);
        free(x);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way),
        cmocka_unit_test(long_calls),
        cmocka_unit_test(dense_sides_keep_their_type),
        cmocka_unit_test(inputs_refused),
        cmocka_unit_test(values_refused),
        cmocka_unit_test(a_late_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
