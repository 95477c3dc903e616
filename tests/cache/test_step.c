/* SPDX-License-Identifier: MIT
 * tq_cache_attend(): zeros are what a step wants, and what contradicts the cache is refused by name. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/cm.h"
#include "support/guard.h"
#include "support/rng.h"
#include "tqkv/cache.h"

enum { H = 4, G = 2, D = 64, MOST = 8, BYTES = 1 << 20 };

typedef struct stage {
    tq_cache *cache;
    float q[H * MOST * D];
    guard out, lse;
    void *workspace;
} stage;

static void append(stage *st, size_t n, rng *r) {
    float k[G * D], v[G * D];
    for (size_t i = 0; i < n; i++) {
        rng_gauss_fill(r, k, G * D);
        rng_gauss_fill(r, v, G * D);
        assert_int_equal(tq_cache_append(st->cache, 1, k, v), TQ_OK);
    }
}

static void open_stage(stage *st, const tq_cache_config *config, size_t n) {
    rng r = {1};
    assert_int_equal(tq_cache_create(config, &st->cache), TQ_OK);
    append(st, n, &r);
    rng_gauss_fill(&r, st->q, H * MOST * D);
    st->out = guard_new(sizeof st->q);
    st->lse = guard_new(H * MOST * sizeof(float));
    assert_int_equal(posix_memalign(&st->workspace, 64, BYTES), 0);
}

static void close_stage(stage *st) {
    tq_cache_destroy(st->cache);
    guard_free(&st->out);
    guard_free(&st->lse);
    free(st->workspace);
}

/* Numbers of queries are spoiled too, and are named before there would be too many for the arrays. */
static tq_status attend(stage *st, const tq_attention_params *p) {
    return tq_cache_attend(st->cache, p, st->q, SIZE_MAX, st->out.data, SIZE_MAX, st->lse.data, SIZE_MAX,
                           st->workspace, BYTES);
}

static const tq_attention_params least = {
    .size = sizeof least, .n_heads = H, .n_queries = 1, .scale = 0.125f};

static void assert_refused(stage *st, const tq_attention_params *p, tq_status want, const char *field) {
    size_t bytes = 7;
    assert_int_equal(attend(st, p), want);
    assert_string_equal(tq_last_error()->field, field);
    guard_assert_untouched(&st->out);
    guard_assert_untouched(&st->lse);
    assert_int_equal(tq_cache_attend_workspace(st->cache, p, &bytes), want);
    assert_string_equal(tq_last_error()->field, field);
    assert_int_equal(bytes, 7);
}

static tq_cache_config global(void) {
    return tq_cache_config_default(G, D, 500);
}

static tq_cache_config ring(size_t capacity, size_t window) {
    tq_cache_config c = tq_cache_config_default(G, D, capacity);
    c.policy = TQ_CACHE_RING;
    c.window = window;
    c.recent = c.sinks = c.learn_centre = c.centre_stretch = 0;
    return c;
}

/* What is said as it is, and what is left 0, give the same bits. */
static void zeros_are_the_step(void **state) {
    (void)state;
    const tq_cache_config configs[] = {global(), ring(40, 32), ring(40, 0)};
    static const uint64_t windows[] = {0, 32, 40};
    for (size_t i = 0; i < 3; i++) {
        stage st;
        float first[H * D];
        open_stage(&st, &configs[i], 100);
        assert_int_equal(attend(&st, &least), TQ_OK);
        memcpy(first, st.out.data, sizeof first);
        tq_attention_params full = least;
        full.n_kv_heads = G;
        full.head_dim = D;
        full.query_end = 100;
        full.window = windows[i];
        assert_int_equal(attend(&st, &full), TQ_OK);
        assert_memory_equal(first, st.out.data, sizeof first);
        /* The window does limit what is seen: a smaller one changes it. */
        full.window = 5;
        assert_int_equal(attend(&st, &full), TQ_OK);
        assert_memory_not_equal(first, st.out.data, sizeof first);
        close_stage(&st);
    }
}

static void contradictions(void **state) {
    (void)state;
    const tq_cache_config config = global();
    stage st;
    open_stage(&st, &config, 100);
    tq_attention_params p = least;
    p.n_kv_heads = 1;
    assert_refused(&st, &p, TQ_E_HEADS, "n_kv_heads");
    p = least;
    p.head_dim = 2 * D;
    assert_refused(&st, &p, TQ_E_HEAD_DIM, "head_dim");
    for (int i = 0; i < 2; i++) {
        p = least;
        p.query_end = i == 0 ? 99 : 101;
        assert_refused(&st, &p, TQ_E_POSITION, "query_end");
    }
    p = least;
    p.v_head_dim = D / 2;
    assert_refused(&st, &p, TQ_E_HEAD_DIM, "v_head_dim");
    p = least;
    p.domain = TQ_ROTATED; /* float16 is there, and nobody rotated it */
    assert_refused(&st, &p, TQ_E_DOMAIN, "k");
    p = least;
    p.scale = 0;
    assert_refused(&st, &p, TQ_E_SCALE, "scale");
    p = (tq_attention_params){.size = sizeof(tq_attention_params), .n_heads = H, .scale = 1};
    assert_refused(&st, &p, TQ_E_SIZE, "n_queries");
    p = (tq_attention_params){.size = sizeof(tq_attention_params), .n_queries = 1, .scale = 1};
    assert_refused(&st, &p, TQ_E_HEADS, "n_heads");
    p = least;
    p.n_queries = 101;
    assert_refused(&st, &p, TQ_E_POSITION, "query_end");
    tq_cache_clear(st.cache); /* a query comes after its key */
    assert_refused(&st, &least, TQ_E_POSITION, "query_end");
    assert_int_equal(tq_cache_attend(NULL, &least, st.q, H * MOST * D, st.out.data, H * MOST * D, NULL, 0,
                                     st.workspace, BYTES),
                     TQ_E_NULL);
    assert_int_equal(tq_cache_attend(st.cache, NULL, st.q, H * MOST * D, st.out.data, H * MOST * D, NULL,
                                     0, st.workspace, BYTES),
                     TQ_E_NULL);
    assert_int_equal(tq_cache_append(st.cache, 1, st.q, st.q), TQ_OK);
    assert_int_equal(tq_cache_attend(st.cache, &least, st.q, H * D - 1, st.out.data, H * D, NULL, 0,
                                     st.workspace, BYTES),
                     TQ_E_SIZE);
    assert_string_equal(tq_last_error()->field, "q");
    guard_assert_untouched(&st.out);
    close_stage(&st);
}

/* A ring of 39 with a window of 32: eight queries see all they look back on, nine do not. */
static void rings_that_have_lost_it(void **state) {
    (void)state;
    const tq_cache_config config = ring(39, 32);
    stage st;
    open_stage(&st, &config, 100);
    tq_attention_params p = least;
    p.n_queries = 9;
    assert_refused(&st, &p, TQ_E_POSITION, "n_queries");
    p.window = 33;
    assert_refused(&st, &p, TQ_E_POSITION, "window");
    p.window = 31; /* looks back less far */
    p.n_queries = 8;
    assert_int_equal(attend(&st, &p), TQ_OK);
    p.window = 0;
    assert_int_equal(attend(&st, &p), TQ_OK);
    close_stage(&st);
}

/* Sinks stay, however long the ring goes on; what lies between them and the window is lost. */
static void rings_keep_sinks(void **state) {
    (void)state;
    tq_cache_config config = ring(64, 0);
    config.sinks = 4;
    for (size_t length = 64; length <= 72; length++) {
        tq_segment segments[TQ_CACHE_SEGMENTS];
        size_t n;
        stage st;
        open_stage(&st, &config, length);
        assert_int_equal(tq_cache_segments(st.cache, segments, &n), TQ_OK);
        assert_true(n == 2 && segments[0].first_position == 0 && segments[0].length == 4);
        tq_attention_params p = least;
        assert_int_equal(attend(&st, &p), TQ_OK); /* looks back on 64 */
        p.n_queries = 2;                          /* and this on the one before them */
        if (length <= 68) {
            assert_int_equal(attend(&st, &p), TQ_OK);
        } else {
            guard_save(&st.out);
            guard_save(&st.lse);
            assert_refused(&st, &p, TQ_E_POSITION, "n_queries");
        }
        p.window = 60;
        assert_int_equal(attend(&st, &p), TQ_OK);
        p.sink_positions = 5; /* as long as all are there that may be */
        if (length <= 68) {
            assert_int_equal(attend(&st, &p), TQ_OK);
        } else {
            guard_save(&st.out);
            guard_save(&st.lse);
            assert_refused(&st, &p, TQ_E_POSITION, "sink_positions");
        }
        close_stage(&st);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeros_are_the_step),
        cmocka_unit_test(contradictions),
        cmocka_unit_test(rings_that_have_lost_it),
        cmocka_unit_test(rings_keep_sinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
