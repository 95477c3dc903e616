/* SPDX-License-Identifier: MIT
 * Blocks behind a gap: caches that forget take them as if they had forgotten what is missing. */
#include "blob.h"
#include "setup.h"
#include "support/cm.h"

enum { HEADER = 192, HASH = 8 };

/* A cache that forgets: a ring, or pages with a window. */
static void open_forgetful(setup *s, beside *b, bool paged, size_t n_pages) {
    const tq_cache_config config = {.size = sizeof config,
                                    .policy = paged ? TQ_CACHE_PAGED : TQ_CACHE_RING,
                                    .capacity = 12,
                                    .window = 6,
                                    .recent = 2,
                                    .sinks = 3,
                                    .layer = setup_layer(0, 1)};
    setup_open_config(s, &config, n_pages, 3);
    setup_cache(s, b);
}

/* A ring, or pages with a window, go on behind a gap, with their sinks; nothing else does. */
static void gaps(void **state) {
    (void)state;
    for (int paged = 0; paged < 2; paged++) {
        setup s, other;
        beside a, b;
        rng r = {5};
        open_forgetful(&s, &a, paged, 9);
        open_forgetful(&other, &b, paged, 9);
        assert_int_equal(beside_append_drawn(&a, 9, &r), TQ_OK);
        blob sinks = blob_export(a.cache, 0, 3), early = blob_export(a.cache, 3, 6);
        assert_int_equal(beside_append_drawn(&a, 30, &r), TQ_OK);
        blob late = blob_export(a.cache, 30, 39), newest = blob_export(a.cache, 37, 39);
        blob_refused(&b, &late, TQ_E_POSITION, "sinks");
        for (int way = 0; way < 4; way++) {
            const blob *last = way < 2 ? &late : &newest; /* which is in float16 alone */
            assert_int_equal(tq_cache_import(b.cache, sinks.bytes, sinks.n), TQ_OK);
            if (way % 2) assert_int_equal(tq_cache_import(b.cache, early.bytes, early.n), TQ_OK);
            assert_int_equal(tq_cache_import(b.cache, last->bytes, last->n), TQ_OK);
            b.model->oldest = way < 2 ? 30 : 37;
            model_adopt(b.model, a.model, 39);
            beside_check(&b);
            if (last == &late) check_attention(b.model, b.cache, 1, 1, &r);
            blob_refused(&b, last, TQ_E_POSITION, "first");
            assert_int_equal(beside_append_any(&b, 4, &r), TQ_OK);
            check_attention(b.model, b.cache, 1, 1, &r);
            beside_clear(&b);
        }
        blob *all[] = {&sinks, &early, &late, &newest};
        for (size_t i = 0; i < 4; i++)
            blob_free(all[i]);
        beside_close(&a);
        beside_close(&b);
        setup_close(&s);
        setup_close(&other);
    }
}

/* Behind a gap it may go on in a page that another uses too: on a copy, or not at all. */
static void gaps_in_shared_pages(void **state) {
    (void)state;
    for (size_t n_pages = 3; n_pages <= 4; n_pages++) {
        setup of_a, of_z, of_b;
        beside a, z, b, fork;
        rng r = {6};
        open_forgetful(&of_a, &a, false, 0);
        open_forgetful(&of_z, &z, false, 0);
        open_forgetful(&of_b, &b, true, n_pages);
        assert_int_equal(beside_append_drawn(&a, 8, &r), TQ_OK);
        assert_int_equal(beside_append(&z, 8, a.model->k.x, a.model->v.x), TQ_OK);
        assert_int_equal(beside_append_drawn(&a, 5, &r), TQ_OK);
        assert_int_equal(beside_append_drawn(&z, 5, &r), TQ_OK); /* others */
        blob start = blob_export(a.cache, 0, 9), rest = blob_export(z.cache, 8, 11);
        assert_int_equal(tq_cache_import(b.cache, start.bytes, start.n), TQ_OK);
        model_adopt(b.model, a.model, 9);
        beside_check(&b);
        assert_int_equal(beside_fork(&b, 7, &fork), TQ_OK); /* 3 to 5 in a page, 6 in the next */
        if (n_pages == 3) {
            blob_refused(&fork, &rest, TQ_E_NO_MEMORY, "pool"); /* a copy for 8, a page for 9 and 10 */
        } else {
            assert_int_equal(tq_cache_import(fork.cache, rest.bytes, rest.n), TQ_OK);
            fork.model->oldest = 8;
            model_adopt(fork.model, z.model, 11);
            beside_check(&fork);
        }
        beside_check(&b);
        beside *caches[] = {&a, &z, &fork, &b};
        for (size_t i = 0; i < 4; i++)
            beside_close(caches[i]);
        blob_free(&start);
        blob_free(&rest);
        setup_close(&of_a);
        setup_close(&of_z);
        setup_close(&of_b);
    }
}

/* Into a cache with so many sinks, a ring or paged: as if all had been appended to it, and what lies
 * before 27 forgotten. */
static void into_sinks(const beside *from, const tq_cache_config *config) {
    setup s, other;
    beside b, appended;
    blob all = blob_whole(from->cache), late = blob_export(from->cache, 2, 5);
    setup_open_config(&s, config, 5, 3);
    setup_open_config(&other, config, 5, 3);
    setup_cache(&s, &b);
    setup_cache(&other, &appended);
    assert_int_equal(beside_append(&appended, 30, from->model->k.x, from->model->v.x), TQ_OK);
    blob_refused(&b, &late, TQ_E_POSITION, "sinks");
    assert_int_equal(tq_cache_import(b.cache, all.bytes, all.n), TQ_OK);
    b.model->oldest = 27;
    model_adopt(b.model, appended.model, 30);
    beside_check(&b);
    blob_free(&all);
    blob_free(&late);
    beside_close(&b);
    beside_close(&appended);
    setup_close(&s);
    setup_close(&other);
}

/* Before a gap all sinks of the cache must be there; those that the block has besides are left out. */
static void sinks_before_gaps(void **state) {
    (void)state;
    tq_cache_config c = {
        .size = sizeof c, .policy = TQ_CACHE_RING, .capacity = 3, .recent = 3, .sinks = 5};
    setup s;
    beside a;
    rng r = {7};
    c.layer = setup_layer(0, 1);
    setup_open_config(&s, &c, 0, 0);
    setup_cache(&s, &a);
    assert_int_equal(beside_append_drawn(&a, 30, &r), TQ_OK); /* 0 to 4, and 27 to 29 */
    c.capacity = 8;
    c.window = 4;
    for (c.recent = 2; c.recent <= 3; c.recent++)
        for (c.sinks = 1; c.sinks <= 5; c.sinks++) {
            c.policy = TQ_CACHE_RING;
            into_sinks(&a, &c);
            c.policy = TQ_CACHE_PAGED;
            into_sinks(&a, &c);
        }
    beside_close(&a);
    setup_close(&s);
}

/* What stays in float16 behind a gap takes no page, and is taken where there is none. */
static void gaps_without_pages(void **state) {
    (void)state;
    tq_cache_config c = {.size = sizeof c, .capacity = 20, .sinks = 9, .layer = setup_layer(0, 1)};
    setup s, other;
    beside a, b, hog;
    rng r = {8};
    setup_open_config(&s, &c, 0, 0);
    setup_cache(&s, &a);
    c.policy = TQ_CACHE_PAGED;
    c.window = 4;
    c.recent = 4;
    c.sinks = 1;
    setup_open_config(&other, &c, 1, 3);
    setup_cache(&other, &b);
    setup_cache(&other, &hog);
    b.alone = false;
    assert_int_equal(beside_append_drawn(&hog, 6, &r), TQ_OK);
    assert_int_equal(tq_page_pool_free_pages(other.pool), 0);
    assert_int_equal(beside_append_drawn(&a, 9, &r), TQ_OK);
    assert_int_equal(beside_append(&b, 3, a.model->k.x, a.model->v.x), TQ_OK);
    blob sinks = blob_export(a.cache, 6, 9);
    assert_int_equal(tq_cache_import(b.cache, sinks.bytes, sinks.n), TQ_OK);
    assert_int_equal(tq_cache_encoded_end(b.cache), 6);
    blob recent = blob_export(b.cache, 6, 9);
    assert_int_equal(recent.n, sinks.n);
    assert_memory_equal(recent.bytes + HEADER, sinks.bytes + HEADER, sinks.n - HEADER - HASH);
    beside_check(&hog);
    blob_free(&recent);
    blob_free(&sinks);
    beside_close(&a);
    beside_close(&b);
    beside_close(&hog);
    setup_close(&s);
    setup_close(&other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gaps),
        cmocka_unit_test(gaps_in_shared_pages),
        cmocka_unit_test(sinks_before_gaps),
        cmocka_unit_test(gaps_without_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
