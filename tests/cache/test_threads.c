/* SPDX-License-Identifier: MIT
 * A cache that encodes on threads holds the bytes of the model, which knows none. Caches of a pool are
 * used by a thread each, all at once. */
#include <stdlib.h>
#include <string.h>

#include "broken.h"
#include "setup.h"
#include "support/cm.h"
#include "support/pool.h"

/* Calls long enough to be worth sharing out, and some that are not. */
static void same_bytes(void **state) {
    (void)state;
    size_t tasks = 0;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind += 1) {
        const unsigned codecs = kind % SETUP_CODECS;
        if (codecs >= SETUP_CHEAP && kind % 5 != 0) continue;
        setup s;
        beside b;
        rng r = {kind + 1};
        pool threads = {.threads = 1 + kind % POOL_MOST_THREADS};
        const tq_parallel parallel = {pool_run, &threads};
        setup_open(&s, kind, codecs, 1 + kind % 4);
        s.config.parallel = &parallel;
        setup_cache(&s, &b);
        assert_int_equal(beside_append_drawn(&b, 1, &r), TQ_OK);
        assert_int_equal(beside_append_drawn(&b, 50, &r), TQ_OK);
        beside_truncate(&b, tq_cache_length(b.cache) - 2);
        assert_int_equal(beside_append_drawn(&b, 3, &r), TQ_OK);
        beside_close(&b);
        setup_close(&s);
        tasks += threads.tasks_seen;
    }
    print_message("%zu tasks\n", tasks);
}

/* A prompt of 900 positions is more than one task. */
static void long_calls_are_shared_out(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < SETUP_KINDS / SETUP_POLICIES; kind += 5) {
        setup s;
        beside b;
        rng r = {kind + 1};
        pool threads = {.threads = 3};
        const tq_parallel parallel = {pool_run, &threads};
        setup_open(&s, kind, 2, 4);
        s.config.capacity = 1000;
        s.config.parallel = &parallel;
        setup_cache(&s, &b);
        assert_int_equal(beside_append_drawn(&b, 900, &r), TQ_OK);
        assert_true(threads.tasks_seen > 1);
        beside_close(&b);
        setup_close(&s);
    }
}

enum { CACHES = 6, G = 2, D = 32, H = 4, PAGES = 60, PAGE_ROWS = 4, PREFIX = 10, TURNS = 30 };

/* A cache that shares pages with the others, and one of the same content that has a pool to itself. */
typedef struct racer {
    tq_cache *cache, *alone;
    uint64_t seed;
    const char *wrong;
} racer;

static tq_cache *paged_cache(tq_page_pool *pages, size_t window) {
    const tq_cache_config c = {.size = sizeof c,
                               .policy = TQ_CACHE_PAGED,
                               .capacity = window > 0 ? 24 : 100,
                               .window = window,
                               .pool = pages};
    tq_cache *cache = NULL;
    if (tq_cache_create(&c, &cache) != TQ_OK) broken("%s", tq_last_error()->message);
    return cache;
}

static tq_page_pool *pool_of(size_t n_pages) {
    const tq_page_pool_config p = {
        .size = sizeof p, .layer = setup_layer(0, G), .n_pages = n_pages, .page_rows = PAGE_ROWS};
    tq_page_pool *pages = NULL;
    if (tq_page_pool_create(&p, &pages) != TQ_OK) broken("%s", tq_last_error()->message);
    return pages;
}

static void draw(rng *r, float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(rng_uniform(r) - 0.5);
}

/* The same bits from both, and so the same codes; or the same refusal, where a rewind has left less than
 * a window and nothing could be appended. */
static bool same_attention(tq_cache *a, tq_cache *b) {
    static const tq_attention_params p = {.size = sizeof p, .n_heads = H, .n_queries = 1, .scale = 1};
    _Alignas(64) unsigned char work[1 << 15];
    float q[H * D], out[2][H * D] = {{0}};
    rng r = {7};
    draw(&r, q, H * D);
    const tq_status got = tq_cache_attend(a, &p, q, H * D, out[0], H * D, NULL, 0, work, sizeof work);
    const tq_status want = tq_cache_attend(b, &p, q, H * D, out[1], H * D, NULL, 0, work, sizeof work);
    return got == want && (got == TQ_OK || got == TQ_E_POSITION) &&
           memcmp(out[0], out[1], sizeof out[0]) == 0;
}

/* The pool may be out of pages at times; what the cache then is stays right. */
static void grow(racer *o, rng *r, tq_cache *cache, tq_cache *alone) {
    float k[7 * G * D], v[7 * G * D];
    const size_t n = 1 + rng_below(r, 7);
    draw(r, k, n * G * D);
    draw(r, v, n * G * D);
    const tq_status got = tq_cache_append(cache, n, k, v);
    if (got == TQ_OK && tq_cache_append(alone, n, k, v) != TQ_OK) o->wrong = "alone it fails";
    if (got != TQ_OK && got != TQ_E_NO_MEMORY && got != TQ_E_POSITION) o->wrong = "another failure";
    if (!same_attention(cache, alone)) o->wrong = "other bits";
}

static void race(void *work, size_t index) {
    racer *o = (racer *)work + index;
    rng r = {o->seed};
    grow(o, &r, o->cache, o->alone); /* all at once into the page that they share */
    for (int turn = 0; turn < TURNS; turn++) {
        const uint64_t length = tq_cache_length(o->cache);
        const uint64_t target = length - rng_below(&r, 5);
        tq_cache *fork[2] = {NULL, NULL};
        if (tq_cache_truncate(o->cache, target) == TQ_OK && tq_cache_truncate(o->alone, target) != TQ_OK)
            o->wrong = "alone it cannot go back";
        if (tq_cache_fork(o->cache, tq_cache_length(o->cache), &fork[0]) == TQ_OK &&
            tq_cache_fork(o->alone, tq_cache_length(o->alone), &fork[1]) == TQ_OK)
            grow(o, &r, fork[0], fork[1]);
        grow(o, &r, o->cache, o->alone);
        tq_cache_destroy(fork[0]);
        tq_cache_destroy(fork[1]);
    }
}

static void race_once(size_t window, uint64_t seed) {
    tq_page_pool *pages = pool_of(PAGES), *apart[CACHES];
    tq_cache *root = paged_cache(pages, window);
    float k[PREFIX * G * D], v[PREFIX * G * D];
    racer racers[CACHES] = {{0}};
    pool threads = {.threads = 4};
    rng r = {seed};
    draw(&r, k, PREFIX * G * D);
    draw(&r, v, PREFIX * G * D);
    assert_int_equal(tq_cache_append(root, PREFIX, k, v), TQ_OK);
    for (size_t i = 0; i < CACHES; i++) {
        racers[i].seed = seed * CACHES + i;
        apart[i] = pool_of(PAGES);
        racers[i].alone = paged_cache(apart[i], window);
        assert_int_equal(tq_cache_append(racers[i].alone, PREFIX, k, v), TQ_OK);
        assert_int_equal(tq_cache_fork(root, PREFIX, &racers[i].cache), TQ_OK);
    }
    tq_cache_destroy(root);
    pool_run(&threads, CACHES, race, racers);
    for (size_t i = 0; i < CACHES; i++) {
        if (racers[i].wrong != NULL) broken("cache %zu: %s", i, racers[i].wrong);
        tq_cache_destroy(racers[i].cache);
        tq_cache_destroy(racers[i].alone);
        tq_page_pool_destroy(apart[i]);
    }
    assert_int_equal(tq_page_pool_free_pages(pages), PAGES);
    tq_page_pool_destroy(pages);
}

static void caches_of_a_pool(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++)
        race_once(seed % 2 == 0 ? 16 : 0, seed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes),
        cmocka_unit_test(long_calls_are_shared_out),
        cmocka_unit_test(caches_of_a_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
