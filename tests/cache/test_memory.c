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
    const tq_cache_config c = {.size = sizeof c,
                               .policy = TQ_CACHE_GLOBAL,
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
    assert_int_equal(refused, 8 + 1 + 1); /* 998 positions in blocks of 128, a table of them, a centre */
    beside_close(&b);
    setup_close(&s);
}

/* A cache that holds a prompt and goes on by single positions. */
static void open_long(tq_cache **cache, memory *m) {
    const tq_allocator a = memory_allocator(m);
    tq_cache_config c = tq_cache_config_default(2, 64, 100000);
    c.allocator = &a;
    assert_int_equal(tq_cache_create(&c, cache), TQ_OK);
}

enum { LONG = 30000, STEP = 100 };
static float vectors[STEP * 2 * 64];

static tq_segment codes_of(const tq_cache *cache) {
    tq_segment segments[TQ_CACHE_SEGMENTS];
    size_t n;
    assert_int_equal(tq_cache_segments(cache, segments, &n), TQ_OK);
    assert_int_equal(segments[1].k.store, TQ_STORE_CODES); /* behind the sink */
    return segments[1];
}

/* What was written stays where it is, so that no append takes longer the more there is: it asks for a
 * block, and now and then for a table of twice as many. What is held is what is used. */
static void growth_moves_nothing(void **state) {
    (void)state;
    memory m = {0};
    tq_cache *cache;
    tq_cache_bytes bytes = {.size = sizeof bytes};
    const void *first[LONG / 128];
    size_t known = 0, most = 0;
    open_long(&cache, &m);
    for (size_t length = STEP; length <= LONG; length += STEP) {
        const size_t before = m.held;
        assert_int_equal(tq_cache_append(cache, STEP, vectors, vectors), TQ_OK);
        most = m.held - before > most ? m.held - before : most;
        const tq_segment s = codes_of(cache);
        for (size_t i = 0; i < s.k.n_pages; i++) {
            if (i == known) first[known++] = s.k.blocks[i];
            if (s.k.blocks[i] != first[i]) broken("block %zu has moved", i);
        }
        assert_int_equal(tq_cache_count_bytes(cache, &bytes), TQ_OK);
        assert_int_equal(bytes.held, m.held);
        if (length >= 4096) assert_true((double)bytes.held <= 1.1 * (double)bytes.used);
    }
    assert_true(known == (LONG - 64 - 1 - 1) / 128 + 1 && known <= MEMORY_MOST_BLOCKS);
    assert_int_equal(bytes.table, 256 * 4 * sizeof(void *));
    assert_int_equal(bytes.centre, 128 * 2 * 64 * sizeof(uint16_t)); /* twice as many each time */
    assert_true(most <= 128 * 2 * (48 + 2 + 32 + 2) + bytes.table + bytes.centre);
    tq_cache_destroy(cache);
    memory_assert_empty(&m);
}

/* Centres of the stretches below `end`, which a cache that keeps all has room for. */
static size_t centres_to(const model *m, uint64_t end) {
    if (m->learn == 0 || end <= m->sinks) return 0;
    return m->stretch == 0 ? 1 : (size_t)((end - 1) / m->stretch) + 1;
}

/* Reserved once, a cache asks for nothing more; what it cannot have, it does not take by half. */
static void reserves(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++) {
        setup s;
        beside b;
        rng r = {kind + 1};
        size_t refused = 0;
        setup_open(&s, kind, 0, 1);
        setup_cache(&s, &b);
        const bool forgets = setup_forgets(&s), global = s.config.policy == TQ_CACHE_GLOBAL;
        const uint64_t most = forgets ? 60 : s.config.capacity;
        assert_int_equal(beside_append_drawn(&b, 7, &r), TQ_OK);
        assert_int_equal(beside_reserve(&b, 3), TQ_OK);
        assert_int_equal(beside_reserve(&b, most + 1), forgets ? TQ_OK : TQ_E_POSITION);
        const bool grows =
            centres_to(b.model, most - s.config.recent) > centres_to(b.model, b.model->encoded_end);
        for (;; refused++) {
            const size_t held = s.memory.held;
            memory_refuse_after(&s.memory, refused);
            if (beside_reserve(&b, most) == TQ_OK) break;
            assert_int_equal(s.memory.held, held);
        }
        memory_refuse_none(&s.memory);
        if (global) assert_true(refused >= 2);
        if (!global) assert_int_equal(refused, !forgets && grows);
        while (tq_cache_length(b.cache) <
               most) { /* beside_append() sees to it that nothing is asked for */
            assert_int_equal(beside_append_drawn(&b, 1, &r), TQ_OK);
            if (rng_below(&r, 10) == 0) beside_truncate(&b, tq_cache_length(b.cache) - 5);
        }
        beside_clear(&b);
        beside_close(&b);
        setup_close(&s);
    }
}

/* Of every kind: a copy or none, and nothing of it left. */
static void forks(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++) {
        setup s;
        beside a, b;
        rng r = {kind};
        size_t refused = 0;
        setup_open(&s, kind, 0, 1);
        setup_cache(&s, &a);
        assert_int_equal(beside_append_drawn(&a, 17, &r), TQ_OK);
        const size_t held = s.memory.held;
        const uint64_t length = model_can_go_back(a.model, 13) ? 13 : 17;
        for (;; refused++) {
            memory_refuse_after(&s.memory, refused);
            if (beside_fork(&a, length, &b) == TQ_OK) break;
            assert_int_equal(s.memory.held, held);
        }
        memory_refuse_none(&s.memory);
        assert_true(refused > 0);
        const size_t before = centres_to(b.model, b.model->encoded_end);
        const size_t grown = append_refused(&b, 9, &r); /* of a fork, which has room for what it has */
        assert_int_equal(grown, !b.model->forgets && centres_to(b.model, b.model->encoded_end) > before);
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
    const tq_page_pool_config p = {
        .size = sizeof p, .layer = setup_layer(0, 2), .n_pages = 3, .page_rows = 4, .allocator = &a};
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
        cmocka_unit_test(every_kind), cmocka_unit_test(growth), cmocka_unit_test(growth_moves_nothing),
        cmocka_unit_test(reserves),   cmocka_unit_test(forks),  cmocka_unit_test(pools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
