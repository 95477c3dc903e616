/* SPDX-License-Identifier: MIT
 * Rewinds: from every length to every length, by a few positions again and again, and those that a ring
 * must refuse. */
#include "broken.h"
#include "setup.h"
#include "support/cm.h"

enum { LONGEST = 21 };

/* length positions, back to `target`, and on again. */
static bool rewind_once(setup *s, size_t length, size_t target, rng *r) {
    beside b;
    setup_cache(s, &b);
    assert_int_equal(beside_append_drawn(&b, length, r), TQ_OK);
    const bool done = beside_truncate(&b, target) == TQ_OK;
    assert_int_equal(beside_append_drawn(&b, 1, r), TQ_OK);
    if (done && length < 2 * target) check_attention(b.model, b.cache, 1, 1, r);
    assert_int_equal(beside_append_drawn(&b, 4, r), TQ_OK);
    beside_close(&b);
    return done;
}

static void from_everywhere_to_everywhere(void **state) {
    (void)state;
    rng r = {1};
    size_t done = 0, refused = 0;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++) {
        setup s;
        setup_open(&s, kind, 0, 1);
        for (size_t length = 0; length <= LONGEST; length++)
            for (size_t target = 0; target <= length; target++)
                *(rewind_once(&s, length, target, &r) ? &done : &refused) += 1;
        setup_close(&s);
    }
    print_message("%zu rewinds, %zu refused\n", done, refused);
    assert_true(done > 10000 && refused > 1000);
}

/* As speculative decoding does it: a few tokens ahead, some of them thrown away, attention in between. */
static void speculation(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++) {
        setup s;
        beside b;
        rng r = {kind + 1};
        setup_open(&s, kind, kind % SETUP_CHEAP, 2);
        setup_cache(&s, &b);
        for (int step = 0; step < 40 && tq_cache_length(b.cache) < 60; step++) {
            assert_int_equal(beside_append_drawn(&b, 1 + rng_below(&r, 4), &r), TQ_OK);
            check_attention(b.model, b.cache, 1, 2, &r);
            const uint64_t length = tq_cache_length(b.cache), back = rng_below(&r, 4);
            beside_truncate(&b, length < back ? 0 : length - back);
        }
        beside_close(&b);
        setup_close(&s);
    }
}

/* The rule with numbers, not by the model: a ring of 10 with a window of 7 has 90 to 99 at length 100.
 * The query at 96 looks back on 90; the one at 95 would on 89. */
static void a_ring_refuses(void **state) {
    (void)state;
    const tq_cache_config c = {.size = sizeof c,
                               .policy = TQ_CACHE_RING,
                               .capacity = 10,
                               .window = 7,
                               .layer = setup_layer(0, 1)};
    setup s;
    beside b;
    rng r = {4};
    setup_open_config(&s, &c, 0, 0);
    setup_cache(&s, &b);
    assert_int_equal(beside_append_drawn(&b, 100, &r), TQ_OK);
    assert_int_equal(tq_cache_first(b.cache), 90);
    for (uint64_t target = 1; target <= 95; target++) /* at 0 a query looks back on nothing */
        assert_int_equal(beside_truncate(&b, target), TQ_E_POSITION);
    assert_int_equal(beside_truncate(&b, 101), TQ_E_POSITION);
    assert_int_equal(tq_cache_length(b.cache), 100);
    assert_int_equal(beside_truncate(&b, 96), TQ_OK);
    assert_int_equal(tq_cache_first(b.cache), 90);
    assert_int_equal(beside_append_drawn(&b, 1, &r), TQ_OK);
    check_attention(b.model, b.cache, 1, 1, &r);
    assert_int_equal(tq_cache_first(b.cache), 90); /* nothing was written over it */
    assert_int_equal(beside_truncate(&b, 95), TQ_E_POSITION);
    assert_int_equal(beside_append_drawn(&b, 4, &r), TQ_OK);
    assert_int_equal(tq_cache_first(b.cache), 91);
    beside_close(&b);
    setup_close(&s);
}

/* What a position's codes are is decided once: others come, go and are encoded, these stay. */
static void encoded_once(void **state) {
    (void)state;
    const tq_cache_config c = {.size = sizeof c,
                               .policy = TQ_CACHE_GLOBAL,
                               .capacity = 80,
                               .recent = 4,
                               .layer = setup_layer(0, 1)};
    setup s;
    beside b;
    rng r = {5};
    float k[8 * 32], v[8 * 32];
    setup_open_config(&s, &c, 0, 0);
    setup_cache(&s, &b);
    draw_vectors(b.model, 8, &r, k, v);
    assert_int_equal(beside_append(&b, 8, k, v), TQ_OK);
    assert_int_equal(tq_cache_encoded_end(b.cache), 4);
    assert_int_equal(beside_truncate(&b, 2), TQ_OK);
    assert_int_equal(tq_cache_encoded_end(b.cache), 2);
    /* Positions 2 and 3 come back as float16, for nothing has aged out that is not encoded. */
    assert_int_equal(beside_append(&b, 2, k, v), TQ_OK);
    assert_int_equal(tq_cache_encoded_end(b.cache), 2);
    assert_int_equal(beside_append(&b, 2, k, v), TQ_OK);
    assert_int_equal(tq_cache_encoded_end(b.cache), 2);
    assert_int_equal(beside_append(&b, 1, k, v), TQ_OK);
    assert_int_equal(tq_cache_encoded_end(b.cache), 3);
    beside_close(&b);
    setup_close(&s);
}

/* A centre stays as long as a position is there that was encoded with it; then it is learned anew. */
static void a_centre_stays_while_it_is_used(void **state) {
    (void)state;
    const tq_cache_config c = {.size = sizeof c,
                               .policy = TQ_CACHE_GLOBAL,
                               .capacity = 80,
                               .learn_centre = 6,
                               .layer = setup_layer(0, 2)};
    setup s;
    beside b;
    rng r = {6};
    setup_open_config(&s, &c, 0, 0);
    setup_cache(&s, &b);
    assert_int_equal(beside_append_drawn(&b, 5, &r), TQ_OK);
    assert_null(tq_cache_k_centre(b.cache, 0));
    assert_int_equal(tq_cache_encoded_end(b.cache), 0);
    assert_int_equal(beside_truncate(&b, 3), TQ_OK);
    assert_int_equal(beside_append_drawn(&b, 2, &r), TQ_OK);
    assert_null(tq_cache_k_centre(b.cache, 0));
    assert_int_equal(beside_append_drawn(&b, 3, &r), TQ_OK);
    const uint16_t *centre = tq_cache_k_centre(b.cache, 79);
    assert_non_null(centre);
    assert_int_equal(tq_cache_encoded_end(b.cache), 8);
    const uint16_t first = centre[0];
    assert_int_equal(beside_truncate(&b, 1), TQ_OK);
    assert_int_equal(beside_append_drawn(&b, 9, &r), TQ_OK);
    assert_ptr_equal(tq_cache_k_centre(b.cache, 0), centre);
    assert_int_equal(first, centre[0]);
    assert_int_equal(beside_truncate(&b, 0), TQ_OK);
    assert_null(tq_cache_k_centre(b.cache, 0));
    assert_int_equal(beside_append_drawn(&b, 6, &r), TQ_OK);
    assert_int_not_equal(first, tq_cache_k_centre(b.cache, 0)[0]);
    beside_clear(&b);
    assert_null(tq_cache_k_centre(b.cache, 0));
    beside_close(&b);
    setup_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_everywhere_to_everywhere),
        cmocka_unit_test(speculation),
        cmocka_unit_test(a_ring_refuses),
        cmocka_unit_test(encoded_once),
        cmocka_unit_test(a_centre_stays_while_it_is_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
