/* SPDX-License-Identifier: MIT
 * Rows that see nothing: zeros and -infinity, whatever the reason, and never NaN. */
#include <math.h>
#include <string.h>

#include "call.h"
#include "draw.h"
#include "model.h"
#include "support/cm.h"

static void check(const scene *s, size_t unseen) {
    whole got = whole_new(s);
    worst w = {0};
    attend(s, &got);
    assert_attends(s, got.out.data, got.lse.data, &w);
    assert_int_equal(w.unseen, unseen);
    whole_free(&got);
}

static void no_segments(void **state) {
    (void)state;
    rng r = {1};
    for (int sinks = 0; sinks < 2; sinks++) {
        scene_plan p = plain_plan(4, 2, 64, 3, 0);
        scene s;
        p.n_segments = 0;
        p.sinks = sinks == 1;
        scene_open(&s, &p, &r);
        check(&s, 12);
        whole got = whole_new(&s);
        edge e = workspace_new(&s.params, NULL, 0, 0xFF);
        assert_int_equal(tq_attention(&s.params, NULL, 0, s.q, scene_rows(&s) * s.params.head_dim,
                                      got.out.data, scene_rows(&s) * scene_v_dim(&s), got.lse.data,
                                      scene_rows(&s), e.data, e.size),
                         TQ_OK);
        worst w = {0};
        assert_attends(&s, got.out.data, got.lse.data, &w);
        edge_free(&e);
        whole_free(&got);
        scene_close(&s);
    }
}

static void empty_segments(void **state) {
    (void)state;
    rng r = {2};
    for (unsigned store = 0; store < STORES; store++) {
        scene_plan p = plain_plan(4, 2, 256, 2, 0);
        scene s;
        p.n_segments = 3;
        p.segment[1] = p.segment[2] = p.segment[0];
        p.segment[1].k.spare = 5;
        p.segment[2].v.page_rows = 4;
        set_store(&p.segment[1].k, store);
        set_store(&p.segment[2].v, store);
        scene_open(&s, &p, &r);
        check(&s, 8);
        scene_close(&s);
        p.segment[2].length = 9; /* beside empty ones, the others count as ever */
        scene_open(&s, &p, &r);
        check(&s, 0);
        scene_close(&s);
    }
}

static void masked_rows(void **state) {
    (void)state;
    static const struct {
        uint64_t first_position, first_query, window;
        int causal;
        size_t unseen; /* of 10 queries on 20 positions */
    } cases[] = {
        {100, 0, 0, 1, 10},  /* all keys lie ahead */
        {100, 95, 0, 1, 5},  /* the first five queries are before the first key */
        {0, 500, 5, 0, 10},  /* all keys are too old */
        {0, 20, 5, 0, 6},    /* they get too old on the way: query 24 is the first that sees none */
        {0, 20, 5, 1, 6},    /* causal or not */
        {100, 95, 1, 1, 5},  /* each query sees itself alone */
        {100, 115, 1, 1, 5}, /* and no one once the keys end */
        {0, UINT64_MAX - 10, UINT64_MAX - 10, 1, 0}, /* the window's edge passes over the keys */
    };
    rng r = {3};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int sinks = 0; sinks < 2; sinks++) {
            scene_plan p = plain_plan(2, 1, 64, 10, 20);
            scene s;
            set_store(&p.segment[0].k, (unsigned)i % V2_STORES);
            set_store(&p.segment[0].v, (unsigned)(i + 3) % V2_STORES);
            p.segment[0].first_position = cases[i].first_position;
            p.sinks = sinks == 1;
            scene_open(&s, &p, &r);
            s.params.query_end = cases[i].first_query + 10;
            s.params.window = cases[i].window;
            s.params.bidirectional = !cases[i].causal;
            check(&s, 2 * cases[i].unseen);
            scene_close(&s);
        }
}

static void partial_of_nothing(void **state) {
    (void)state;
    rng r = {4};
    for (int why = 0; why < 3; why++) {
        scene_plan p = plain_plan(4, 2, 64, 3, why == 1 ? 0 : 30);
        scene s;
        worst w = {0};
        p.sinks = true; /* which a partial does not look at */
        scene_open(&s, &p, &r);
        s.params.bidirectional = why != 2;
        s.params.query_end = why == 2 ? 3 : 0;
        s.segments[0].first_position = 7;
        partial got = partial_new(&s);
        if (why == 0) s.n_segments = 0;
        attend_partly(&s, s.segments, s.n_segments, &got);
        assert_partial(&s, got.acc.data, got.max.data, got.sum.data, &w);
        assert_int_equal(w.unseen, 12);
        if (why == 0) s.n_segments = 1;
        partial_free(&got);
        scene_close(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_segments),
        cmocka_unit_test(empty_segments),
        cmocka_unit_test(masked_rows),
        cmocka_unit_test(partial_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
