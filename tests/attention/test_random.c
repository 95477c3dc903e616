/* SPDX-License-Identifier: MIT
 * tq_attention() against the float64 model: every format, shape, layout and mask, drawn at random. */
#include <stdio.h>

#include "call.h"
#include "draw.h"
#include "model.h"
#include "support/cm.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static void check(const scene *s, worst *w) {
    whole got = whole_new(s);
    attend(s, &got);
    assert_attends(s, got.out.data, got.lse.data, w);
    whole_free(&got);
}

static void check_plan(const scene_plan *p, rng *r, worst *w) {
    scene s;
    scene_open(&s, p, r);
    check(&s, w);
    scene_close(&s);
}

static void every_pair_of_stores(void **state) {
    (void)state;
    static const uint32_t dims[] = {256, 512, 112};
    for (size_t d = 0; d < COUNT(dims); d++) {
        rng r = {dims[d]};
        worst w = {0};
        char name[32];
        for (unsigned pair = 0; pair < STORES * STORES; pair++) {
            const unsigned k = pair / STORES, v = pair % STORES;
            scene_plan p = plain_plan(2, 1, dims[d], 1, 1 + rng_below(&r, 40));
            set_store(&p.segment[0].k, k);
            set_store(&p.segment[0].v, v);
            const bool v1 =
                (k >= V2_STORES && k < ENCODED_STORES) || (v >= V2_STORES && v < ENCODED_STORES);
            if (v1 && dims[d] == 112) continue;
            p.domain = pair % 2 == 0 ? TQ_ORIGINAL : TQ_ROTATED;
            check_plan(&p, &r, &w);
        }
        snprintf(name, sizeof name, "pairs of stores, D %u", dims[d]);
        worst_print(name, &w);
    }
}

static void every_head_dim(void **state) {
    (void)state;
    rng r = {1};
    worst w = {0};
    for (uint32_t dim = 32; dim <= 1024; dim += 16) {
        scene_plan p = plain_plan(4, 2, dim, 1 + rng_below(&r, 4), 1 + rng_below(&r, 50));
        draw_segments(&p, p.segment[0].length, &r);
        p.domain = dim / 16 % 2 == 0 ? TQ_ORIGINAL : TQ_ROTATED;
        check_plan(&p, &r, &w);
    }
    worst_print("every head_dim", &w);
}

static void every_length(void **state) {
    (void)state;
    rng r = {2};
    worst w = {0};
    for (size_t length = 1; length <= 140; length++) {
        scene_plan p = plain_plan(3, 1, 64, 1, length);
        draw_segments(&p, length, &r);
        check_plan(&p, &r, &w);
    }
    worst_print("every length to 140", &w);
}

static void head_groups(void **state) {
    (void)state;
    rng r = {3};
    worst w = {0};
    for (uint32_t kv_heads = 1; kv_heads <= 3; kv_heads++)
        for (uint32_t group = 1; group <= 17; group++) {
            scene_plan p = plain_plan(kv_heads * group, kv_heads, 96, 1 + group % 3, 100);
            draw_segments(&p, 100, &r);
            check_plan(&p, &r, &w);
        }
    worst_print("head groups 1 to 17", &w);
}

static void layouts(void **state) {
    (void)state;
    rng r = {4};
    worst w = {0};
    for (int i = 0; i < 150; i++) {
        const size_t length = draw_size(&r, 300);
        scene_plan p = plain_plan(4, 2, 32U << rng_below(&r, 4), 1, length);
        draw_segments(&p, length, &r);
        draw_layouts(&p, &r);
        check_plan(&p, &r, &w);
    }
    worst_print("rings, pages, strides", &w);
}

/* Every combination of causal, window and softcap, at positions where masks cut through segments. */
static void masks(void **state) {
    (void)state;
    static const uint64_t windows[] = {0, 1, 2, 63, 64, 150, UINT64_MAX};
    static const uint64_t starts[] = {0, 60, 195, 199, 330};
    rng r = {5};
    worst w = {0};
    for (size_t i = 0; i < 2 * COUNT(windows) * COUNT(starts); i++) {
        scene_plan p = plain_plan(2, 1, 64, 1 + rng_below(&r, 12), 200);
        scene s;
        draw_segments(&p, 200, &r);
        draw_layouts(&p, &r);
        p.sinks = rng_below(&r, 2) == 0;
        scene_open(&s, &p, &r);
        s.params.bidirectional = i % 2 != 0;
        s.params.window = windows[i / 2 % COUNT(windows)];
        s.params.query_end = starts[i / 2 / COUNT(windows)] + s.params.n_queries;
        s.params.softcap = i % 3 == 0 ? 2.0f : 0.0f;
        check(&s, &w);
        scene_close(&s);
    }
    assert_true(w.unseen > 0 && w.unseen < w.rows);
    worst_print("causal, windows", &w);
}

/* Positions near the end of what 64 bits hold: differences count, sums would wrap. */
static void far_positions(void **state) {
    (void)state;
    rng r = {6};
    worst w = {0};
    for (int i = 0; i < 20; i++) {
        const uint64_t far = UINT64_MAX - 400 - rng_below(&r, 100);
        scene_plan p = plain_plan(2, 2, 32, 1 + rng_below(&r, 5), 150);
        scene s;
        draw_segments(&p, 150, &r);
        for (size_t t = 0; t < p.n_segments; t++)
            p.segment[t].first_position += far;
        scene_open(&s, &p, &r);
        draw_masks(&s.params, 150, &r);
        s.params.query_end = far + rng_below(&r, 200) + s.params.n_queries;
        check(&s, &w);
        scene_close(&s);
    }
    worst_print("far positions", &w);
}

static void many_queries(void **state) {
    (void)state;
    static const size_t queries[] = {2, 3, 5, 15, 16, 17, 33, 64, 200};
    rng r = {7};
    worst w = {0};
    for (size_t i = 0; i < COUNT(queries); i++) {
        scene_plan p = plain_plan(4, 2, i % 2 == 0 ? 64 : 80, queries[i], 230);
        scene s;
        draw_segments(&p, 230, &r);
        draw_layouts(&p, &r);
        scene_open(&s, &p, &r);
        s.params.bidirectional = 0;
        s.params.window = i % 3 == 0 ? 50 : 0;
        check(&s, &w);
        scene_close(&s);
    }
    worst_print("many queries", &w);
}

static void long_caches(void **state) {
    (void)state;
    rng r = {8};
    worst w = {0};
    for (uint32_t i = 0; i < 4; i++) {
        scene_plan p = plain_plan(2, 1, i < 3 ? 64 : 256, i == 2 ? 5 : 1, 5000);
        draw_segments(&p, 5000, &r);
        draw_layouts(&p, &r);
        p.domain = i == 1 ? TQ_ROTATED : TQ_ORIGINAL;
        check_plan(&p, &r, &w);
    }
    worst_print("5000 positions", &w);
}

static void anything(void **state) {
    (void)state;
    rng r = {9};
    worst w = {0};
    for (int i = 0; i < 250; i++) {
        scene_plan p;
        scene s;
        size_t length = 0;
        draw_plan(&p, 3e6, &r);
        for (size_t t = 0; t < p.n_segments; t++)
            length += p.segment[t].length;
        scene_open(&s, &p, &r);
        draw_masks(&s.params, length, &r);
        /* Left open it says the same where the queries are the newest positions. */
        if (s.params.query_end == length && i % 2 == 0) s.params.query_end = 0;
        check(&s, &w);
        scene_close(&s);
    }
    worst_print("anything", &w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_stores),
        cmocka_unit_test(every_head_dim),
        cmocka_unit_test(every_length),
        cmocka_unit_test(head_groups),
        cmocka_unit_test(layouts),
        cmocka_unit_test(masks),
        cmocka_unit_test(far_positions),
        cmocka_unit_test(many_queries),
        cmocka_unit_test(long_caches),
        cmocka_unit_test(anything),
    };
    worst_print(NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
