/* SPDX-License-Identifier: MIT
 * Every allocation refused once: nothing leaks, nothing changes, and the next attempt succeeds. */
#include "broken.h"
#include "setup.h"
#include "support/cm.h"

/* Creating takes as many requests as the numbers for which it fails. */
static size_t create_refused(const setup *s) {
    memory m = {0};
    const tq_allocator a = memory_allocator(&m);
    tq_cache_config c = s->config;
    tq_cache *cache = NULL;
    size_t n = 0;
    c.allocator = &a;
    for (;; n++) {
        memory_refuse_after(&m, n);
        const tq_status got = tq_cache_create(&c, &cache);
        if (!m.refused) break;
        check_record(got, TQ_E_NO_MEMORY, NULL);
        if (cache != NULL) broken("a cache without memory");
        memory_assert_empty(&m);
    }
    assert_non_null(cache);
    tq_cache_destroy(cache);
    memory_assert_empty(&m);
    return n;
}

/* Appends n positions, each request of which is refused once. Returns how many there were. */
static size_t append_refused(beside *b, size_t n, rng *r) {
    size_t refused = 0;
    tq_status got;
    do {
        memory_refuse_after(b->memory, refused);
        got = beside_append_drawn(b, n, r);
        refused += got == TQ_E_NO_MEMORY;
    } while (got == TQ_E_NO_MEMORY);
    assert_int_equal(got, TQ_OK);
    memory_refuse_none(b->memory);
    return refused;
}

static void every_kind(void **state) {
    (void)state;
    size_t appends = 0;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++) {
        setup s;
        beside b;
        rng r = {kind + 1};
        setup_open(&s, kind, 0, 1);
        assert_true(create_refused(&s) > 0);
        setup_cache(&s, &b);
        const size_t before = appends;
        for (size_t n = 1; n < 50 && tq_cache_length(b.cache) + n <= 64; n += 1 + n / 2)
            appends += append_refused(&b, n, &r);
        /* A ring has all its memory from the start. */
        if (s.config.policy == TQ_CACHE_RING) assert_int_equal(appends, before);
        if (s.config.policy == TQ_CACHE_GLOBAL) assert_true(appends > before);
        beside_clear(&b);
        if (s.config.policy == TQ_CACHE_GLOBAL) assert_int_equal(append_refused(&b, 20, &r), 0);
        beside_close(&b);
        setup_close(&s);
    }
}

/* Growing more than once, with something to lose. */
static void growth(void **state) {
    (void)state;
    const tq_cache_config c = {.policy = TQ_CACHE_GLOBAL,
                               .capacity = 1000,
                               .recent = 2,
                               .learn_centre = 3,
                               .layer = setup_layer(1, 3)};
    setup s;
    beside b;
    rng r = {2};
    size_t refused = 0;
    setup_open_config(&s, &c, 0, 0);
    setup_cache(&s, &b);
    while (tq_cache_length(b.cache) < 1000)
        refused += append_refused(&b, 40, &r);
    assert_true(refused >= 3 * 4); /* a few times, four arrays each */
    beside_close(&b);
    setup_close(&s);
}

/* Doubling, not growth by a step: the number of requests is that of the bits of the length. */
static void growth_is_geometric(void **state) {
    (void)state;
    static const float zeros[500 * 32];
    memory m = {0};
    const tq_allocator a = memory_allocator(&m);
    const tq_cache_config c = {
        .policy = TQ_CACHE_GLOBAL, .capacity = 100000, .layer = setup_layer(0, 1), .allocator = &a};
    tq_cache *cache;
    assert_int_equal(tq_cache_create(&c, &cache), TQ_OK);
    for (int i = 0; i < 40; i++)
        assert_int_equal(tq_cache_append(cache, 500, zeros, zeros), TQ_OK);
    assert_true(m.requests < 100);
    tq_cache_destroy(cache);
    memory_assert_empty(&m);
}

static void forks(void **state) {
    (void)state;
    for (unsigned kind = SETUP_KINDS / SETUP_POLICIES * 4; kind < SETUP_KINDS; kind++) {
        setup s;
        beside a, b;
        rng r = {kind};
        size_t refused = 0;
        setup_open(&s, kind, 0, 1);
        setup_cache(&s, &a);
        assert_int_equal(beside_append_drawn(&a, 17, &r), TQ_OK);
        const size_t held = s.memory.held;
        for (;; refused++) {
            memory_refuse_after(&s.memory, refused);
            if (beside_fork(&a, 13, &b) == TQ_OK) break;
            assert_int_equal(s.memory.held, held);
        }
        memory_refuse_none(&s.memory);
        assert_true(refused > 0);
        assert_int_equal(append_refused(&b, 9, &r), 0);
        beside_close(&b);
        assert_int_equal(s.memory.held, held);
        beside_close(&a);
        setup_close(&s);
    }
}

static void pools(void **state) {
    (void)state;
    memory m = {0};
    const tq_allocator a = memory_allocator(&m);
    const tq_page_pool_config p = {setup_layer(0, 2), 3, 4, &a};
    tq_page_pool *pool = NULL;
    size_t n = 0;
    for (;; n++) {
        memory_refuse_after(&m, n);
        const tq_status got = tq_page_pool_create(&p, &pool);
        if (!m.refused) break;
        check_record(got, TQ_E_NO_MEMORY, NULL);
        if (pool != NULL) broken("a pool without memory");
        memory_assert_empty(&m);
    }
    assert_true(n > 0);
    assert_int_equal(tq_page_pool_free_pages(pool), 3);
    assert_int_equal(tq_page_pool_bytes(pool), m.held);
    tq_page_pool_destroy(pool);
    memory_assert_empty(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind), cmocka_unit_test(growth), cmocka_unit_test(growth_is_geometric),
        cmocka_unit_test(forks),      cmocka_unit_test(pools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
