/* SPDX-License-Identifier: MIT
 * Caches that share a pool: forks, copies on write, exhaustion, and pages that all come back. */
#include <stdlib.h>
#include <string.h>

#include "broken.h"
#include "setup.h"
#include "support/cm.h"

static void open_paged(setup *s, size_t recent, size_t sinks, size_t learn, size_t n_pages) {
    const tq_cache_config c = {.size = sizeof c,
                               .policy = TQ_CACHE_PAGED,
                               .capacity = 200,
                               .recent = recent,
                               .sinks = sinks,
                               .learn_centre = learn,
                               .layer = setup_layer(0, 2)};
    setup_open_config(s, &c, n_pages, 4);
}

static size_t spare(const setup *s) {
    return tq_page_pool_free_pages(s->pool);
}

static size_t shared_bytes(const beside *b) {
    tq_cache_bytes bytes = {.size = sizeof bytes};
    assert_int_equal(tq_cache_count_bytes(b->cache, &bytes), TQ_OK);
    return bytes.shared;
}

/* A prefix of 10 positions in pages of 4: three pages, however many use it. */
static void a_prefix_is_stored_once(void **state) {
    (void)state;
    setup s;
    beside root, fork[6];
    rng r = {1};
    open_paged(&s, 0, 0, 0, 20);
    setup_cache(&s, &root);
    assert_int_equal(beside_append_drawn(&root, 10, &r), TQ_OK);
    assert_int_equal(spare(&s), 17);
    assert_int_equal(shared_bytes(&root), 0);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(beside_fork(i < 3 ? &root : &fork[i - 1], 10, &fork[i]), TQ_OK);
    assert_int_equal(spare(&s), 17);
    const size_t page_bytes = tq_page_pool_bytes(s.pool) / 20;
    assert_true(shared_bytes(&root) / 3 > page_bytes / 2 && shared_bytes(&root) / 3 <= page_bytes);
    /* Each copies the part-filled page when it writes to it; the last user has it to itself. */
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(beside_append_drawn(&fork[i], 1, &r), TQ_OK);
        assert_int_equal(spare(&s), 17 - 1 - i);
        beside_check(&root);
    }
    assert_int_equal(beside_append_drawn(&root, 1, &r), TQ_OK);
    assert_int_equal(spare(&s), 11);
    for (size_t i = 0; i < 6; i++) {
        for (size_t j = i; j < 6; j++) /* what is left is what it was */
            beside_check(&fork[j]);
        check_attention(fork[i].model, fork[i].cache, 2, 1, &r);
        beside_close(&fork[i]);
        assert_int_equal(spare(&s), 12 + i);
    }
    assert_int_equal(shared_bytes(&root), 0);
    beside_close(&root);
    assert_int_equal(spare(&s), 20);
    setup_close(&s);
}

/* Whoever writes first gets the copy, and the other does not see it; then the other writes in place. */
static void copies_both_ways(void **state) {
    (void)state;
    for (int original_first = 0; original_first < 2; original_first++)
        for (size_t length = 1; length <= 9; length++) {
            setup s;
            beside a, b;
            rng r = {length};
            open_paged(&s, 0, 0, 0, 8);
            setup_cache(&s, &a);
            assert_int_equal(beside_append_drawn(&a, 9, &r), TQ_OK);
            assert_int_equal(beside_fork(&a, length, &b), TQ_OK);
            assert_int_equal(spare(&s), 5);
            beside *first = original_first ? &a : &b, *second = original_first ? &b : &a;
            assert_int_equal(beside_append_drawn(first, 1, &r), TQ_OK);
            beside_check(second);
            assert_int_equal(beside_append_drawn(second, 1, &r), TQ_OK);
            beside_check(first);
            beside_close(first);
            beside_check(second);
            assert_int_equal(beside_append_drawn(second, 4, &r), TQ_OK);
            beside_close(second);
            setup_close(&s);
        }
}

/* Rewinding into a shared page and writing must not show in the other cache. */
static void rewinds_into_shared_pages(void **state) {
    (void)state;
    for (size_t target = 0; target <= 14; target++) {
        setup s;
        beside a, b;
        rng r = {target + 1};
        open_paged(&s, target % 3, target % 2, 0, 16);
        setup_cache(&s, &a);
        assert_int_equal(beside_append_drawn(&a, 14, &r), TQ_OK);
        assert_int_equal(beside_fork(&a, 14, &b), TQ_OK);
        assert_int_equal(beside_truncate(&a, target), TQ_OK);
        beside_check(&b);
        assert_int_equal(beside_append_drawn(&a, 6, &r), TQ_OK);
        beside_check(&b);
        assert_int_equal(beside_truncate(&b, target), TQ_OK);
        assert_int_equal(beside_append_drawn(&b, 1, &r), TQ_OK);
        beside_check(&a);
        beside_clear(&b);
        beside_check(&a);
        beside_close(&a);
        beside_close(&b);
        setup_close(&s);
    }
}

/* Every length of every kind of paged cache, then both go on. */
static void forks_of_every_kind(void **state) {
    (void)state;
    const unsigned first = SETUP_KINDS / SETUP_POLICIES * 4;
    for (unsigned kind = first; kind < SETUP_KINDS; kind++) {
        setup s;
        beside a;
        rng r = {kind};
        setup_open(&s, kind, kind % SETUP_CHEAP, 1 + kind % 2);
        setup_cache(&s, &a);
        for (size_t length = 0; length <= 14; length++) {
            beside b;
            for (uint64_t at = 0; at <= tq_cache_length(a.cache); at++) {
                if (beside_fork(&a, at, &b) != TQ_OK) continue; /* the window says no */
                assert_int_equal(beside_append_drawn(&b, 1 + rng_below(&r, 5), &r), TQ_OK);
                check_attention(b.model, b.cache, 1, 1, &r);
                beside_close(&b);
            }
            beside_check(&a);
            assert_int_equal(beside_fork(&a, tq_cache_length(a.cache) + 1, &b), TQ_E_POSITION);
            assert_int_equal(beside_append_drawn(&a, 1, &r), TQ_OK);
        }
        beside_close(&a);
        setup_close(&s);
    }
}

/* A page more than there is: refused with nothing taken; one less and it goes in. */
static void exhaustion(void **state) {
    (void)state;
    setup s;
    beside a, b;
    rng r = {5};
    open_paged(&s, 2, 1, 0, 5);
    setup_cache(&s, &a);
    setup_cache(&s, &b);
    a.alone = false;
    assert_int_equal(beside_append_drawn(&a, 9, &r), TQ_OK); /* 1 sink, 6 in pages, 2 recent */
    assert_int_equal(spare(&s), 3);
    assert_int_equal(beside_append_drawn(&b, 3 + 13, &r), TQ_E_NO_MEMORY);
    assert_int_equal(spare(&s), 3);
    assert_int_equal(beside_append_drawn(&b, 3 + 12, &r), TQ_OK);
    assert_int_equal(spare(&s), 0);
    assert_int_equal(beside_append_drawn(&a, 2, &r), TQ_OK);
    assert_int_equal(beside_append_drawn(&a, 1, &r), TQ_E_NO_MEMORY);
    assert_int_equal(beside_append_drawn(&b, 1, &r), TQ_E_NO_MEMORY);
    beside_check(&a);
    assert_int_equal(beside_truncate(&b, 13), TQ_OK); /* still 12 in pages */
    assert_int_equal(beside_append_drawn(&a, 1, &r), TQ_E_NO_MEMORY);
    beside_clear(&b);
    assert_int_equal(spare(&s), 3);
    assert_int_equal(beside_append_drawn(&a, 12, &r), TQ_OK);
    beside_close(&a);
    beside_close(&b);
    setup_close(&s);
}

/* The copy that a write needs counts as a page: no spare one, no write. */
static void exhaustion_by_copying(void **state) {
    (void)state;
    setup s;
    beside a, b;
    rng r = {6};
    open_paged(&s, 0, 0, 0, 2);
    setup_cache(&s, &a);
    assert_int_equal(beside_append_drawn(&a, 6, &r), TQ_OK);
    assert_int_equal(beside_fork(&a, 6, &b), TQ_OK);
    assert_int_equal(beside_append_drawn(&a, 1, &r), TQ_E_NO_MEMORY);
    assert_int_equal(beside_append_drawn(&b, 1, &r), TQ_E_NO_MEMORY);
    beside_close(&b);
    assert_int_equal(beside_append_drawn(&a, 2, &r), TQ_OK);
    assert_int_equal(beside_append_drawn(&a, 1, &r), TQ_E_NO_MEMORY);
    beside_close(&a);
    setup_close(&s);
}

/* What is reserved and was shared must not be written to: it goes, and the rest of the reservation stays.
 */
static void reserved_pages_that_are_shared(void **state) {
    (void)state;
    for (uint64_t target = 0; target <= 12; target++) {
        setup s;
        beside a, b;
        rng r = {target + 1};
        open_paged(&s, 0, 0, 0, 30);
        setup_cache(&s, &a);
        assert_int_equal(beside_reserve(&a, 24), TQ_OK);
        assert_int_equal(spare(&s), 24);
        assert_int_equal(beside_append_drawn(&a, 12, &r), TQ_OK);
        assert_int_equal(beside_fork(&a, 10, &b), TQ_OK);
        assert_int_equal(beside_truncate(&a, target), TQ_OK);
        assert_int_equal(beside_append_drawn(&a, 15, &r), TQ_OK);
        beside_check(&b);
        assert_int_equal(beside_append_drawn(&b, 5, &r), TQ_OK);
        beside_check(&a);
        beside_clear(&a);
        beside_close(&a);
        beside_close(&b);
        setup_close(&s);
    }
}

/* 13 positions, of which the window may begin anywhere in a page: 4 pages of 4. Those that it leaves are
 * used again; all that it does not need others can have. */
static void a_window_gives_pages_back(void **state) {
    (void)state;
    for (size_t step = 1; step <= 30; step += 1 + step / 3) {
        const tq_cache_config c = {.size = sizeof c,
                                   .policy = TQ_CACHE_PAGED,
                                   .capacity = 13,
                                   .window = 8,
                                   .sinks = 2,
                                   .layer = setup_layer(0, 2)};
        setup s;
        beside a, b;
        rng r = {step};
        setup_open_config(&s, &c, 8, 4);
        setup_cache(&s, &a);
        setup_cache(&s, &b);
        a.alone = b.alone = false;
        assert_int_equal(beside_append_drawn(&b, 9, &r), TQ_OK);
        const size_t others = 8 - spare(&s);
        while (tq_cache_length(a.cache) < 150) {
            assert_int_equal(beside_append_drawn(&a, step, &r), TQ_OK);
            assert_true(8 - spare(&s) - others <= 4);
            check_attention(a.model, a.cache, step < 6 ? step : 6, 1, &r);
        }
        assert_int_equal(tq_cache_first(a.cache), tq_cache_length(a.cache) - 13);
        beside_check(&b);
        beside_close(&a);
        beside_close(&b);
        setup_close(&s);
    }
}

/* A pool that has no page more than the window needs is enough, once they are reserved. */
static void a_window_in_a_full_pool(void **state) {
    (void)state;
    const tq_cache_config c = {.size = sizeof c,
                               .policy = TQ_CACHE_PAGED,
                               .capacity = 13,
                               .window = 8,
                               .layer = setup_layer(0, 1)};
    setup s;
    beside a, b;
    rng r = {8};
    setup_open_config(&s, &c, 6, 4);
    setup_cache(&s, &a);
    setup_cache(&s, &b);
    a.alone = b.alone = false;
    assert_int_equal(beside_reserve(&a, 1000), TQ_OK);
    assert_int_equal(spare(&s), 2);
    assert_int_equal(beside_append_drawn(&b, 7, &r), TQ_OK);
    assert_int_equal(spare(&s), 0);
    for (int i = 0; i < 40; i++)
        assert_int_equal(beside_append_drawn(&a, 1 + rng_below(&r, 20), &r), TQ_OK);
    assert_int_equal(beside_append_drawn(&b, 2, &r), TQ_E_NO_MEMORY);
    beside_clear(&a);
    assert_int_equal(spare(&s), 4);
    beside_close(&a);
    beside_close(&b);
    setup_close(&s);
}

enum { FAMILY = 6 };

static size_t held_by(const beside *b, size_t *pages) {
    return check_bytes(b->model, b->cache, pages).held;
}

/* All that a family of caches counts is what their allocator has given. */
static void check_family(const beside *family, const bool *alive, const memory *m) {
    size_t sum = 0, pages;
    for (size_t i = 0; i < FAMILY; i++)
        if (alive[i]) {
            beside_check(&family[i]);
            sum += held_by(&family[i], &pages) - pages;
        }
    if (sum != m->held) broken("the caches count %zu bytes, the allocator %zu", sum, m->held);
}

static void family_step(setup *s, beside *family, bool *alive, rng *r) {
    const size_t i = rng_below(r, FAMILY), j = rng_below(r, FAMILY);
    if (!alive[i] && alive[j]) {
        const uint64_t length = rng_below(r, (uint32_t)tq_cache_length(family[j].cache) + 1);
        alive[i] = beside_fork(&family[j], length, &family[i]) == TQ_OK;
    } else if (!alive[i]) {
        setup_cache(s, &family[i]);
        family[i].alone = false;
        alive[i] = true;
    } else if (rng_below(r, 12) == 0) {
        beside_close(&family[i]);
        alive[i] = false;
    } else if (rng_below(r, 4) == 0) {
        beside_truncate(&family[i], rng_below(r, (uint32_t)tq_cache_length(family[i].cache) + 1));
    } else if (beside_append_drawn(&family[i], 1 + rng_below(r, 7), r) == TQ_OK) {
        check_attention(family[i].model, family[i].cache, 1, 2, r);
    }
}

/* Sequences that take turns have their pages in no order; a pool that is often full. */
static void families(void **state) {
    (void)state;
    for (size_t run = 0; run < 12; run++) {
        setup s;
        beside family[FAMILY];
        bool alive[FAMILY] = {false};
        rng r = {run + 1};
        open_paged(&s, run % 3, run / 3 % 3, run % 4 == 3 ? 6 : 0, 14);
        for (int step = 0; step < 150; step++) {
            family_step(&s, family, alive, &r);
            check_family(family, alive, &s.memory);
        }
        for (size_t i = 0; i < FAMILY; i++)
            if (alive[i]) beside_close(&family[i]);
        setup_close(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_is_stored_once),
        cmocka_unit_test(copies_both_ways),
        cmocka_unit_test(rewinds_into_shared_pages),
        cmocka_unit_test(forks_of_every_kind),
        cmocka_unit_test(exhaustion),
        cmocka_unit_test(exhaustion_by_copying),
        cmocka_unit_test(reserved_pages_that_are_shared),
        cmocka_unit_test(a_window_gives_pages_back),
        cmocka_unit_test(a_window_in_a_full_pool),
        cmocka_unit_test(families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
