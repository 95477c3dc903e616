/* SPDX-License-Identifier: MIT
 * A centre per stretch: learned once, kept while it is used, learned anew after a rewind, whatever the
 * policy and however positions come. What it must be the model says, from every key by itself. */
#include <stdlib.h>
#include <string.h>

#include "attention/half.h"
#include "blob.h"
#include "broken.h"
#include "setup.h"
#include "support/cm.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

enum { POLICIES = 5 };

/* A global cache, rings that wrap often, pages, pages with a window: each holds `recent` and `learn`. */
static void set_policy(tq_cache_config *c, unsigned policy, size_t total) {
    const size_t least = c->recent > c->learn_centre ? c->recent : c->learn_centre;
    const struct {
        tq_cache_policy policy;
        size_t capacity, window;
    } all[POLICIES] = {{TQ_CACHE_GLOBAL, total + 50, 0},
                       {TQ_CACHE_RING, least + 20, 9},
                       {TQ_CACHE_RING, least + 1, 1},
                       {TQ_CACHE_PAGED, total + 50, 0},
                       {TQ_CACHE_PAGED, least + 13, 7}};
    c->policy = all[policy].policy;
    c->capacity = all[policy].capacity;
    c->window = all[policy].window;
}

/* Other keys after a rewind; what is refused leaves all as it was. */
static void go_back(beside *b, uint64_t length, rng *r) {
    if (beside_truncate(b, length) != TQ_OK) return;
    assert_int_equal(beside_append_any(b, 1 + rng_below(r, 9), r), TQ_OK);
}

static void rewinds(beside *b, size_t stretch, rng *r) {
    const uint64_t length = tq_cache_length(b->cache), l = stretch == 0 ? 2 * length : stretch;
    const uint64_t start = (length - 1) / l * l, middle = start + (length - start) / 2;
    const uint64_t targets[] = {length - 1, middle, start + 1, start, start < 1 ? 0 : start - 1, 0};
    for (size_t i = 0; i < COUNT(targets); i++)
        if (targets[i] <= tq_cache_length(b->cache)) go_back(b, targets[i], r);
}

/* A fork, and a copy through blocks of n positions, go on as the cache itself does. */
static void copies(const setup *s, beside *b, size_t n, rng *r) {
    const uint64_t length = tq_cache_length(b->cache), seed = rng_next(r);
    setup other;
    beside fork, copy;
    rng same[] = {{seed}, {seed}};
    setup_open_config(&other, &s->config, 400, 3);
    setup_cache(&other, &copy);
    if (b->model->oldest > b->model->sinks || s->config.policy == TQ_CACHE_RING)
        n = (size_t)length; /* what is forgotten no chunk has */
    for (uint64_t at = 0, end; at < length; at = end) {
        const uint64_t encoded = tq_cache_encoded_end(b->cache);
        end = at + n < encoded ? at + n : at < encoded && n < length ? encoded : length;
        blob chunk = blob_export(b->cache, at, end);
        if (tq_cache_import(copy.cache, chunk.bytes, chunk.n) != TQ_OK)
            broken("%s", tq_last_error()->message);
        blob_free(&chunk);
    }
    model_adopt(copy.model, b->model, length);
    beside_check(&copy);
    const uint64_t back = length - rng_below(r, 4) % (length + 1);
    const tq_status got = beside_fork(b, back, &fork);
    assert_int_equal(beside_truncate(&copy, back), got);
    if (got == TQ_OK) {
        assert_int_equal(beside_append_any(&fork, 11, &same[0]), TQ_OK);
        assert_int_equal(beside_append_any(&copy, 11, &same[1]), TQ_OK);
        blob_same(blob_whole(fork.cache), blob_whole(copy.cache));
        beside_check(b);
        beside_close(&fork);
    }
    beside_close(&copy);
    setup_close(&other);
}

static void life(const tq_cache_config *config, size_t total, size_t most, rng *r) {
    setup s;
    beside b;
    setup_open_config(&s, config, 400, 3);
    setup_cache(&s, &b);
    for (size_t at = 0, n; at < total; at += n) {
        n = 1 + rng_below(r, (uint32_t)most);
        if (n > total - at) n = total - at;
        assert_int_equal(beside_append_any(&b, n, r), TQ_OK);
    }
    check_attention(b.model, b.cache, 1, 1, r);
    copies(&s, &b, 1 + rng_below(r, (uint32_t)total), r);
    rewinds(&b, config->centre_stretch, r);
    if (tq_cache_length(b.cache) > 0) check_attention(b.model, b.cache, 1, 1, r);
    copies(&s, &b, 1 + rng_below(r, 9), r);
    beside_close(&b);
    setup_close(&s);
}

/* Learned from one key, from some and from all; with fewer recent positions than that, and with more;
 * sinks within the first stretch and beyond. By one, by some, and by more than a ring holds. */
static void every_stretch(void **state) {
    (void)state;
    static const size_t stretches[] = {1, 3, 7, 64, 256, 0};
    rng r = {1};
    size_t lives = 0;
    for (size_t i = 0; i < COUNT(stretches) * POLICIES * 3 * 3 * 4; i++) {
        const size_t l = stretches[i % COUNT(stretches)], rest = i / COUNT(stretches);
        const size_t span = l == 0 ? 20 : l, total = l == 256 ? 520 : 100;
        const size_t learns[] = {1, (span + 2) / 3, span, 2}, recents[] = {0, 2, learns[rest % 4] + 3};
        const size_t sinks[] = {0, 1, span > 70 ? 70 : span + 2}, mosts[] = {1, 7, 40, total};
        tq_cache_config c = {.size = sizeof c, .layer = setup_layer((unsigned)lives % SETUP_CHEAP, 2)};
        c.learn_centre = l > 0 && learns[rest % 4] > l ? l : learns[rest % 4];
        c.centre_stretch = l;
        c.recent = recents[rest / 4 % 3];
        c.sinks = sinks[rest / 12 % 3];
        set_policy(&c, (unsigned)(rest / 36 % POLICIES), total);
        const size_t most = mosts[lives++ * 7 / 3 % 4];
        life(&c, total, l == 256 && most < 7 ? 60 : most, &r);
    }
    print_message("%zu lives\n", lives);
}

/* Codes that a short ring forgets at once, and then what is encoded by the centre of their stretch. */
static void codes_that_are_forgotten_at_once(void **state) {
    (void)state;
    for (size_t recent = 2; recent <= 60; recent++)
        for (int paged = 0; paged < 2; paged++) {
            tq_cache_config c = {.size = sizeof c,
                                 .capacity = 200,
                                 .recent = recent,
                                 .sinks = 1,
                                 .learn_centre = 3,
                                 .centre_stretch = 50,
                                 .layer = setup_layer(0, 2)};
            setup s, other, third;
            beside a, b, appended;
            rng r = {recent};
            setup_open_config(&s, &c, 0, 0);
            setup_cache(&s, &a);
            assert_int_equal(beside_append_drawn(&a, 90, &r), TQ_OK);
            blob block = blob_whole(a.cache);
            c.policy = paged ? TQ_CACHE_PAGED : TQ_CACHE_RING;
            c.recent = 2;
            c.capacity = 9;
            c.window = 3;
            setup_open_config(&other, &c, 9, 3);
            setup_open_config(&third, &c, 9, 3);
            setup_cache(&other, &b);
            setup_cache(&third, &appended);
            assert_int_equal(beside_append(&appended, 90, a.model->k.x, a.model->v.x), TQ_OK);
            assert_int_equal(tq_cache_import(b.cache, block.bytes, block.n), TQ_OK);
            model_adopt(b.model, appended.model, 90);
            beside_check(&b);
            blob_same(blob_whole(b.cache), blob_whole(appended.cache));
            blob_free(&block);
            beside_close(&a);
            beside_close(&b);
            beside_close(&appended);
            setup_close(&s);
            setup_close(&other);
            setup_close(&third);
        }
}

/* By numbers, not by the model: stretches of 10, of which the first 4 are learned from, a sink, and
 * nothing recent. The second head's keys share too little. */
static void by_numbers(void **state) {
    (void)state;
    enum { D = 32, G = 2, N = 27 };
    const tq_cache_config c = {.size = sizeof c,
                               .capacity = 100,
                               .sinks = 1,
                               .learn_centre = 4,
                               .centre_stretch = 10,
                               .layer = setup_layer(0, G)};
    static const uint64_t ends[] = {0,  1,  1,  1,  1,  5,  6,  7,  8,  9,  10, 10, 10, 10,
                                    14, 15, 16, 17, 18, 19, 20, 20, 20, 20, 24, 25, 26, 27};
    float x[N * G * D];
    tq_cache *cache;
    for (size_t i = 0; i < COUNT(x); i++) {
        const size_t p = i / (G * D), sign = (p ^ i) % 2;
        x[i] = i / D % G == 0 ? 8.0f * (float)(p / 10 + 1) : 0.0f;
        x[i] += sign == 0 ? (float)(p % 10 + 1) / 4 : -(float)(p % 10 + 1) / 4;
    }
    assert_int_equal(tq_cache_create(&c, &cache), TQ_OK);
    for (size_t p = 0; p < N; p++) {
        assert_int_equal(tq_cache_encoded_end(cache), ends[p]);
        assert_int_equal(tq_cache_append(cache, 1, x + p * G * D, x + p * G * D), TQ_OK);
    }
    assert_int_equal(tq_cache_encoded_end(cache), ends[N]);
    for (uint64_t p = 0; p < 30; p++) {
        const uint16_t *centre = tq_cache_k_centre(cache, p);
        const uint64_t first = p < 10 ? 1 : p / 10 * 10; /* the sink does not count */
        assert_non_null(centre);
        for (size_t i = 0; i < D; i++) {
            double sum = 0;
            for (uint64_t j = first; j < first + 4; j++)
                sum += (double)x[j * G * D + i];
            assert_int_equal(centre[i], half_from(sum / 4));
            assert_int_equal(centre[D + i], 0);
        }
    }
    assert_null(tq_cache_k_centre(cache, 30));
    assert_null(tq_cache_k_centre(cache, UINT64_MAX));
    assert_int_equal(tq_cache_truncate(cache, 20), TQ_OK);
    assert_null(tq_cache_k_centre(cache, 20));
    assert_non_null(tq_cache_k_centre(cache, 19));
    tq_cache_destroy(cache);
}

/* As many as a ring's codes lie in at a time, wherever they begin, and one where there are no stretches;
 * of a cache that keeps all, at most those of its capacity. */
static void bytes_of_centres(void **state) {
    (void)state;
    for (size_t i = 0; i < 400; i++) {
        const size_t slots = 1 + i % 20, stretch = i / 20;
        tq_cache_config c = {.size = sizeof c,
                             .policy = TQ_CACHE_RING,
                             .capacity = slots + 2,
                             .recent = 2,
                             .learn_centre = 1,
                             .centre_stretch = stretch,
                             .layer = setup_layer(0, 2)};
        tq_cache_bytes bytes = {.size = sizeof bytes};
        tq_cache *cache;
        size_t most = 1;
        for (size_t start = 0; stretch > 0 && start < stretch; start++)
            if ((start + slots - 1) / stretch + 1 > most) most = (start + slots - 1) / stretch + 1;
        assert_int_equal(tq_cache_create(&c, &cache), TQ_OK);
        assert_int_equal(tq_cache_count_bytes(cache, &bytes), TQ_OK);
        assert_int_equal(bytes.centre, most * 2 * 32 * sizeof(uint16_t));
        tq_cache_destroy(cache);
        c.policy = TQ_CACHE_GLOBAL;
        setup s;
        beside b;
        rng r = {i};
        setup_open_config(&s, &c, 0, 0);
        setup_cache(&s, &b);
        assert_int_equal(beside_append_drawn(&b, c.capacity, &r), TQ_OK);
        assert_int_equal(tq_cache_count_bytes(b.cache, &bytes), TQ_OK);
        const size_t all = stretch == 0 ? 1 : (slots - 1) / stretch + 1;
        assert_int_equal(bytes.centre, all * 2 * 32 * sizeof(uint16_t));
        beside_close(&b);
        setup_close(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stretch),
        cmocka_unit_test(codes_that_are_forgotten_at_once),
        cmocka_unit_test(by_numbers),
        cmocka_unit_test(bytes_of_centres),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
