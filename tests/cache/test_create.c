/* SPDX-License-Identifier: MIT
 * Configurations that must be refused, with the field at fault, and NULL wherever it may stand. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "beside.h"
#include "broken.h"
#include "setup.h"
#include "support/cm.h"

static tq_cache_config good(tq_cache_policy policy) {
    return (tq_cache_config){.size = sizeof(tq_cache_config),
                             .policy = policy,
                             .layer = setup_layer(0, 2),
                             .capacity = 20,
                             .recent = 3};
}

/* Nothing comes out, and all memory goes back. */
static void refused(const tq_cache_config *config, tq_status want, const char *field) {
    memory m = {0};
    const tq_allocator a = memory_allocator(&m);
    tq_cache_config c = *config;
    tq_cache *cache = (tq_cache *)&m;
    c.allocator = &a;
    check_record(tq_cache_create(&c, &cache), want, field);
    if (cache != NULL) broken("a cache in spite of %s", tq_status_name(want));
    memory_assert_empty(&m);
}

static void accepted(const tq_cache_config *config) {
    tq_cache *cache = NULL;
    if (tq_cache_create(config, &cache) != TQ_OK) broken("%s", tq_last_error()->message);
    tq_cache_destroy(cache);
}

/* Half an allocator is none. */
static void allocators(void **state) {
    (void)state;
    memory m = {0};
    const tq_allocator whole = memory_allocator(&m);
    tq_allocator half = {NULL, whole.release, &m};
    tq_cache_config c = good(TQ_CACHE_GLOBAL);
    tq_page_pool_config p = {
        .size = sizeof p, .layer = c.layer, .n_pages = 2, .page_rows = 2, .allocator = &half};
    tq_cache *cache = NULL;
    tq_page_pool *pool = NULL;
    c.allocator = &half;
    check_record(tq_cache_create(&c, &cache), TQ_E_NULL, "allocator");
    check_record(tq_page_pool_create(&p, &pool), TQ_E_NULL, "allocator");
    half = (tq_allocator){whole.allocate, NULL, &m};
    check_record(tq_cache_create(&c, &cache), TQ_E_NULL, "allocator");
    check_record(tq_page_pool_create(&p, &pool), TQ_E_NULL, "allocator");
    assert_true(cache == NULL && pool == NULL && m.requests == 0);
}

static void with_capacity(tq_cache_config c, size_t capacity, tq_status want, const char *field) {
    c.capacity = capacity;
    refused(&c, want, field);
}

/* Bytes after n positions of ones. */
static tq_cache_bytes bytes_of(const tq_cache_config *config, size_t n) {
    const size_t values = n * config->layer.n_kv_heads * config->layer.k.head_dim;
    float *x = zeroed(values, sizeof *x);
    tq_cache *cache = NULL;
    tq_cache_bytes bytes = {.size = sizeof bytes};
    for (size_t i = 0; i < values; i++)
        x[i] = 1.0f;
    assert_int_equal(tq_cache_create(config, &cache), TQ_OK);
    assert_int_equal(tq_cache_append(cache, n, x, x), TQ_OK);
    assert_int_equal(tq_cache_encoded_end(cache), n - config->recent);
    assert_int_equal(tq_cache_count_bytes(cache, &bytes), TQ_OK);
    tq_cache_destroy(cache);
    free(x);
    return bytes;
}

/* The configuration that is recommended: what docs/choosing.md says, for any capacity, and its centre for
 * nothing but itself. */
static void defaults(void **state) {
    (void)state;
    static const size_t capacities[] = {1, 63, 64, 65, 1000};
    for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++)
        for (uint32_t dim = 32; dim <= 1024; dim += 16) {
            tq_cache_config c = tq_cache_config_default(2, dim, capacities[i]);
            accepted(&c);
            assert_int_equal(c.recent, capacities[i] < 64 ? capacities[i] : 64);
            assert_int_equal(c.learn_centre, c.recent);
            assert_int_equal(c.centre_stretch, 256);
            c.policy = TQ_CACHE_RING;
            accepted(&c);
        }
    tq_cache_config c = tq_cache_config_default(3, 80, 300);
    assert_true(c.policy == TQ_CACHE_GLOBAL && c.capacity == 300 && c.layer.n_kv_heads == 3);
    assert_true(c.layer.k.format == TQ_TQ6 && c.layer.v.format == TQ_TQ4);
    assert_true(c.layer.k.norm_rule == TQ_NORM_DEFAULT && c.layer.v.norm_rule == TQ_NORM_DEFAULT);
    assert_true(c.sinks == 1 && c.window == 0 && c.pool == NULL && c.allocator == NULL);
    const tq_cache_bytes with = bytes_of(&c, 300);
    c.learn_centre = c.centre_stretch = 0;
    const tq_cache_bytes without = bytes_of(&c, 300);
    assert_int_equal(with.centre, 3 * 80 * sizeof(uint16_t)); /* 236 positions are encoded */
    assert_int_equal(with.held - with.centre, without.held);

    c = tq_cache_config_default(2, 64, 0);
    refused(&c, TQ_E_POSITION, "capacity");
    c = tq_cache_config_default(0, 64, 9);
    refused(&c, TQ_E_HEADS, "n_kv_heads");
    c = tq_cache_config_default(2, 40, 9);
    refused(&c, TQ_E_HEAD_DIM, "head_dim");
}

static void positions(void **state) {
    (void)state;
    static const tq_cache_policy policies[] = {TQ_CACHE_GLOBAL, TQ_CACHE_RING};
    for (size_t i = 0; i < 2; i++) {
        tq_cache_config c = good(policies[i]);
        accepted(&c);
        with_capacity(c, 0, TQ_E_POSITION, "capacity");
        with_capacity(c, 2, TQ_E_POSITION, "recent");
        c.capacity = 3;
        accepted(&c);
        c.capacity = 20;
        c.learn_centre = 20;
        accepted(&c);
        c.learn_centre = 21;
        refused(&c, TQ_E_POSITION, "learn_centre");
    }
    tq_cache_config c = good(TQ_CACHE_RING);
    c.window = 20;
    accepted(&c);
    c.window = 21;
    refused(&c, TQ_E_POSITION, "window");
}

static void policies(void **state) {
    (void)state;
    setup s;
    const tq_cache_config paged = good(TQ_CACHE_PAGED);
    setup_open_config(&s, &paged, 4, 2);
    tq_cache_config c = good((tq_cache_policy)3);
    refused(&c, TQ_E_POLICY, "policy");
    c.policy = (tq_cache_policy)-1;
    refused(&c, TQ_E_POLICY, "policy");
    c = good(TQ_CACHE_GLOBAL);
    c.window = 1;
    refused(&c, TQ_E_POLICY, "window");
    c = s.config;
    c.window = 1;
    accepted(&c);
    c.window = c.capacity + 1;
    refused(&c, TQ_E_POSITION, "window");
    c = good(TQ_CACHE_RING);
    c.pool = s.pool;
    refused(&c, TQ_E_POLICY, "pool");
    c.policy = TQ_CACHE_GLOBAL;
    refused(&c, TQ_E_POLICY, "pool");
    refused(&paged, TQ_E_NULL, "pool");
    setup_close(&s);
}

static void codecs(void **state) {
    (void)state;
    const tq_cache_config g = good(TQ_CACHE_GLOBAL);
    tq_cache_config c = g;
    c.layer.n_kv_heads = 0;
    refused(&c, TQ_E_HEADS, NULL);
    c = g;
    c.layer.k.format = (tq_format)9;
    refused(&c, TQ_E_FORMAT, NULL);
    c = g;
    c.layer.v.format = (tq_format)0;
    refused(&c, TQ_E_FORMAT, NULL);
    c = g;
    c.layer.k.head_dim = 33;
    refused(&c, TQ_E_HEAD_DIM, NULL);
    c = g;
    c.layer.v.head_dim = 64; /* not that of the keys */
    accepted(&c);
    c.layer.v.head_dim = 72;
    refused(&c, TQ_E_HEAD_DIM, NULL);
    c = g;
    c.layer.v.norm_rule = (tq_norm_rule)4;
    refused(&c, TQ_E_NORM_RULE, NULL);
    c.layer = setup_layer(5, 2);
    c.layer.k.scale_factor_d512 = 0;
    refused(&c, TQ_E_SCALE_FACTOR, NULL);
    c.layer = setup_layer(5, 2);
    c.layer.v.scale_factor_d512 = NAN;
    refused(&c, TQ_E_SCALE_FACTOR, NULL);
    c.layer = setup_layer(5, 2);
    c.layer.v.norm_rule = TQ_NORM_MATCHED;
    refused(&c, TQ_E_NORM_RULE, NULL);
}

static void dense_sides(void **state) {
    (void)state;
    tq_cache_config c = good(TQ_CACHE_GLOBAL);
    c.layer.v_store = TQ_STORE_F16;
    c.layer.v.format = (tq_format)1; /* not looked at */
    accepted(&c);
    c.layer.v_store = TQ_STORE_F32;
    refused(&c, TQ_E_FORMAT, "v_store");
    c.layer.v_store = (tq_store)-1;
    refused(&c, TQ_E_FORMAT, "v_store");
    c = good(TQ_CACHE_RING);
    c.layer.k_store = TQ_STORE_BF16;
    accepted(&c);
    c.layer.k.head_dim = c.layer.v.head_dim = 40;
    refused(&c, TQ_E_HEAD_DIM, "head_dim");
    c = good(TQ_CACHE_RING);
    c.layer.k_store = (tq_store)4;
    refused(&c, TQ_E_FORMAT, "k_store");
    c.layer.k_store = TQ_STORE_BF16;
    c.learn_centre = 1;
    refused(&c, TQ_E_POLICY, "learn_centre");
    const float centre[64] = {0};
    c.learn_centre = 0;
    c.k_centre = centre;
    refused(&c, TQ_E_POLICY, "k_centre");
}

static void centres(void **state) {
    (void)state;
    static const float bad[] = {NAN, -INFINITY, 65505};
    float centre[64] = {0};
    tq_cache_config c = good(TQ_CACHE_GLOBAL);
    c.k_centre = centre;
    accepted(&c);
    for (size_t i = 0; i < 3; i++)
        for (size_t at = 0; at < 64; at += 63) {
            centre[at] = bad[i];
            refused(&c, i < 2 ? TQ_E_NOT_FINITE : TQ_E_RANGE, "k_centre");
            if (tq_last_error()->index != at) broken("not index %zu", at);
            centre[at] = 30000; /* as long as a key may be, but not much longer */
            accepted(&c);
            centre[at] = 65000;
            refused(&c, TQ_E_RANGE, "k_centre");
            if (tq_last_error()->index != at / 32 * 32) broken("not that head's");
            centre[at] = -1;
        }
    accepted(&c);
    c.learn_centre = 2;
    refused(&c, TQ_E_POSITION, "learn_centre");
    c.k_centre = NULL;
    c.centre_stretch = 2;
    accepted(&c);
    c.centre_stretch = 1;
    refused(&c, TQ_E_POSITION, "centre_stretch");
    c.learn_centre = 0;
    refused(&c, TQ_E_POSITION, "centre_stretch");
    c.k_centre = centre;
    refused(&c, TQ_E_POSITION, "centre_stretch");
}

static void sizes(void **state) {
    (void)state;
    static const size_t huge[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 64};
    for (size_t i = 0; i < 3; i++) {
        tq_cache_config c = good(TQ_CACHE_RING);
        with_capacity(c, huge[i], TQ_E_OVERFLOW, NULL);
        c.capacity = huge[i];
        c.recent = huge[i];
        refused(&c, TQ_E_OVERFLOW, NULL);
        c = good(TQ_CACHE_RING);
        c.sinks = huge[i];
        refused(&c, TQ_E_OVERFLOW, NULL);
        c.policy = TQ_CACHE_GLOBAL; /* which has room for no more than `capacity` of them */
        accepted(&c);
        c = good(TQ_CACHE_GLOBAL);
        c.capacity = c.learn_centre = huge[i];
        refused(&c, TQ_E_OVERFLOW, NULL);
    }
    /* A global cache takes what it needs when it needs it: capacity may be large. */
    tq_cache_config c = good(TQ_CACHE_GLOBAL);
    c.capacity = (size_t)1 << 40;
    accepted(&c);
    /* More than there is, but a number that fits: the allocator here refuses beyond 2^30 bytes. */
    c = good(TQ_CACHE_RING);
    with_capacity(c, (size_t)1 << 40, TQ_E_NO_MEMORY, NULL);
}

static void pools(void **state) {
    (void)state;
    tq_page_pool *pool = NULL;
    tq_page_pool_config p = {.size = sizeof p, .layer = setup_layer(0, 2), .n_pages = 3, .page_rows = 4};
    assert_int_equal(tq_page_pool_create(&p, &pool), TQ_OK);
    tq_cache_config c = good(TQ_CACHE_PAGED);
    c.pool = pool;
    accepted(&c);
    memset(&c.layer, 0, sizeof c.layer);
    accepted(&c); /* the pool's */
    c.layer = setup_layer(0, 3);
    refused(&c, TQ_E_POLICY, "layer");
    c.layer = setup_layer(0, 2);
    c.layer.k.format = TQ_TQ5;
    refused(&c, TQ_E_POLICY, "layer");
    c.layer = setup_layer(0, 2);
    c.layer.v.norm_rule = TQ_NORM_UNBIASED;
    refused(&c, TQ_E_POLICY, "layer");
    c.layer = setup_layer(0, 2);
    c.layer.v.norm_rule = TQ_NORM_DEFAULT; /* matched, as the pool has it */
    accepted(&c);
    c.layer.k.norm_rule = TQ_NORM_DEFAULT; /* and here it has plain */
    refused(&c, TQ_E_POLICY, "layer");
    c.layer = setup_layer(0, 2);
    c.layer.v_store = TQ_STORE_F16;
    refused(&c, TQ_E_POLICY, "layer");
    tq_page_pool_destroy(pool);
}

static void pool_refused(const tq_page_pool_config *config, tq_status want, const char *field) {
    memory m = {0};
    const tq_allocator a = memory_allocator(&m);
    tq_page_pool_config p = *config;
    tq_page_pool *pool = (tq_page_pool *)&m;
    p.allocator = &a;
    check_record(tq_page_pool_create(&p, &pool), want, field);
    if (pool != NULL) broken("a pool in spite of %s", tq_status_name(want));
    memory_assert_empty(&m);
}

static void pools_refused(void **state) {
    (void)state;
    const tq_page_pool_config g = {
        .size = sizeof g, .layer = setup_layer(0, 2), .n_pages = 3, .page_rows = 4};
    tq_page_pool_config p = g;
    p.n_pages = 0;
    pool_refused(&p, TQ_E_SIZE, "n_pages");
    p.n_pages = (size_t)INT32_MAX + 1;
    pool_refused(&p, TQ_E_SIZE, "n_pages");
    p = g;
    p.page_rows = 0;
    pool_refused(&p, TQ_E_SIZE, "page_rows");
    p.page_rows = SIZE_MAX;
    pool_refused(&p, TQ_E_OVERFLOW, NULL);
    p.page_rows = (size_t)1 << 40;
    pool_refused(&p, TQ_E_NO_MEMORY, NULL);
    p = g;
    p.layer.n_kv_heads = 0;
    pool_refused(&p, TQ_E_HEADS, NULL);
    p = g;
    p.layer.k.head_dim = 40;
    pool_refused(&p, TQ_E_HEAD_DIM, NULL);
    p = g;
    p.layer.v.format = (tq_format)1;
    pool_refused(&p, TQ_E_FORMAT, NULL);
    p = g;
    p.layer.k.norm_rule = (tq_norm_rule)7;
    pool_refused(&p, TQ_E_NORM_RULE, NULL);
    tq_page_pool *pool = (tq_page_pool *)&p;
    check_record(tq_page_pool_create(NULL, &pool), TQ_E_NULL, "config");
    assert_null(pool);
    check_record(tq_page_pool_create(&g, NULL), TQ_E_NULL, "pool");
}

static void nothing_at_all(void **state) {
    (void)state;
    tq_cache_config c = good(TQ_CACHE_GLOBAL);
    tq_cache *cache = (tq_cache *)&c, *fork = (tq_cache *)&c;
    tq_segment segments[TQ_CACHE_SEGMENTS];
    tq_cache_bytes bytes = {.size = sizeof bytes};
    size_t n = 0;
    check_record(tq_cache_create(NULL, &cache), TQ_E_NULL, "config");
    assert_null(cache);
    check_record(tq_cache_create(&c, NULL), TQ_E_NULL, "cache");
    tq_cache_destroy(NULL);
    tq_cache_clear(NULL);
    tq_page_pool_destroy(NULL);
    assert_int_equal(tq_cache_length(NULL), 0);
    assert_int_equal(tq_cache_first(NULL), 0);
    assert_int_equal(tq_cache_encoded_end(NULL), 0);
    assert_null(tq_cache_k_centre(NULL, 0));
    assert_int_equal(tq_page_pool_free_pages(NULL), 0);
    assert_int_equal(tq_page_pool_bytes(NULL), 0);
    check_record(tq_cache_truncate(NULL, 0), TQ_E_NULL, "cache");
    check_record(tq_cache_segments(NULL, segments, &n), TQ_E_NULL, "cache");
    check_record(tq_cache_count_bytes(NULL, &bytes), TQ_E_NULL, "cache");
    check_record(tq_cache_fork(NULL, 0, &fork), TQ_E_NULL, "from");
    assert_null(fork);
    check_record(tq_cache_reserve(NULL, 0), TQ_E_NULL, "cache");
    assert_int_equal(tq_cache_create(&c, &cache), TQ_OK); /* no allocator: the C library's */
    check_record(tq_cache_segments(cache, NULL, &n), TQ_E_NULL, "segments");
    check_record(tq_cache_segments(cache, segments, NULL), TQ_E_NULL, "n_segments");
    check_record(tq_cache_count_bytes(cache, NULL), TQ_E_NULL, "bytes");
    fork = cache;
    check_record(tq_cache_fork(cache, 1, &fork), TQ_E_POSITION, "length");
    assert_null(fork);
    check_record(tq_cache_fork(cache, 0, NULL), TQ_E_NULL, "cache");
    tq_cache_destroy(cache);
}

/* Callers that were built with another version have structs of another size. What an older one does not
 * have counts as 0; what a newer one has, and the library does not know, must be 0. */
static void sizes_of_other_versions(void **state) {
    (void)state;
    struct {
        tq_cache_config config;
        uint64_t more[2];
    } newer = {.config = good(TQ_CACHE_GLOBAL)};
    struct {
        tq_cache_bytes bytes;
        uint64_t more[2];
    } counted;
    tq_cache_config older = good(TQ_CACHE_GLOBAL);
    tq_cache *cache;
    newer.config.size = sizeof newer;
    assert_int_equal(tq_cache_create(&newer.config, &cache), TQ_OK);
    memset(&counted, 0xEE, sizeof counted);
    counted.bytes.size = sizeof counted;
    assert_int_equal(tq_cache_count_bytes(cache, &counted.bytes), TQ_OK);
    assert_int_equal(counted.bytes.size, sizeof counted);
    assert_true(counted.bytes.held > 0 && counted.more[0] == 0 && counted.more[1] == 0);
    memset(&counted, 0xEE, sizeof counted);
    counted.bytes.size = offsetof(tq_cache_bytes, v_codes); /* nothing behind it is touched */
    assert_int_equal(tq_cache_count_bytes(cache, &counted.bytes), TQ_OK);
    assert_int_equal(counted.bytes.v_codes, 0xEEEEEEEEEEEEEEEEU);
    tq_cache_destroy(cache);
    newer.more[1] = 1;
    check_record(tq_cache_create(&newer.config, &cache), TQ_E_UNSUPPORTED, "config");
    older.recent = 7;
    older.learn_centre = 100; /* more than the capacity: refused, if it were looked at */
    older.size = offsetof(tq_cache_config, learn_centre);
    assert_int_equal(tq_cache_create(&older, &cache), TQ_OK);
    tq_cache_destroy(cache);
    static const size_t wrong[] = {0, 1, sizeof older - 1, sizeof older + 1, 1 << 20, SIZE_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tq_page_pool_config pool = {.size = wrong[i], .layer = older.layer, .n_pages = 1, .page_rows = 1};
        tq_page_pool *made;
        older.size = wrong[i];
        check_record(tq_cache_create(&older, &cache), TQ_E_SIZE, "size");
        check_record(tq_page_pool_create(&pool, &made), TQ_E_SIZE, "size");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_of_other_versions),
        cmocka_unit_test(defaults),
        cmocka_unit_test(allocators),
        cmocka_unit_test(positions),
        cmocka_unit_test(policies),
        cmocka_unit_test(codecs),
        cmocka_unit_test(dense_sides),
        cmocka_unit_test(centres),
        cmocka_unit_test(sizes),
        cmocka_unit_test(pools),
        cmocka_unit_test(pools_refused),
        cmocka_unit_test(nothing_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
