/* SPDX-License-Identifier: MIT
 * The same bits for any number of threads, and whatever the workspace held before. */
#include <string.h>

#include "call.h"
#include "draw.h"
#include "support/cm.h"
#include "support/pool.h"

static void run_partly(const scene *s, partial *p) {
    attend_partly(s, s->segments, s->n_segments, p);
}

/* Returns the tasks that the calls had for a pool. */
static size_t check_arithmetic(scene *s) {
    static const size_t counts[] = {1, 2, 3, POOL_MOST_THREADS};
    whole alone = whole_new(s), shared = whole_new(s);
    partial open = partial_new(s), open_shared = partial_new(s);
    size_t tasks = 0;
    attend(s, &alone);
    run_partly(s, &open);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        pool p = {.threads = counts[i]};
        const tq_parallel parallel = {pool_run, &p};
        s->params.parallel = &parallel;
        attend(s, &shared);
        run_partly(s, &open_shared);
        s->params.parallel = NULL;
        assert_memory_equal(alone.out.data, shared.out.data, alone.out.size);
        assert_memory_equal(alone.lse.data, shared.lse.data, alone.lse.size);
        assert_memory_equal(open.acc.data, open_shared.acc.data, open.acc.size);
        assert_memory_equal(open.max.data, open_shared.max.data, open.max.size);
        assert_memory_equal(open.sum.data, open_shared.sum.data, open.sum.size);
        tasks = p.tasks_seen;
    }
    whole_free(&alone);
    whole_free(&shared);
    partial_free(&open);
    partial_free(&open_shared);
    return tasks;
}

static size_t check_threads(scene *s) {
    size_t tasks = 0;
    for (int how = TQ_ARITHMETIC_DEFAULT; how <= TQ_ARITHMETIC_INTEGER; how++) {
        s->params.arithmetic = (tq_arithmetic)how;
        tasks = check_arithmetic(s);
    }
    return tasks;
}

static void same_bits_on_any_number_of_threads(void **state) {
    (void)state;
    rng r = {1};
    for (int i = 0; i < 30; i++) {
        scene_plan p;
        scene s;
        draw_plan(&p, 1e6, &r);
        scene_open(&s, &p, &r);
        draw_masks(&s.params, 300, &r);
        check_threads(&s);
        scene_close(&s);
    }
}

/* A decode step of one head on many positions has to be split, or threads would be of no use to it. */
static void long_caches_are_split(void **state) {
    (void)state;
    rng r = {2};
    for (size_t queries = 1; queries <= 9; queries += 8) {
        scene_plan p = plain_plan(2, 1, 64, queries, 5000);
        scene s;
        draw_segments(&p, 5000, &r);
        draw_layouts(&p, &r);
        scene_open(&s, &p, &r);
        assert_true(check_threads(&s) >= 4); /* two calls */
        scene_close(&s);
    }
}

static void many_queries(void **state) {
    (void)state;
    rng r = {3};
    scene_plan p = plain_plan(4, 2, 80, 130, 200);
    scene s;
    draw_segments(&p, 200, &r);
    scene_open(&s, &p, &r);
    s.params.bidirectional = 0;
    s.params.query_end = 70 + s.params.n_queries;
    check_threads(&s);
    scene_close(&s);
}

static void workspace_content_does_not_matter(void **state) {
    (void)state;
    static const int fills[] = {0x00, 0x7F, 0x3C};
    rng r = {4};
    for (int i = 0; i < 30; i++) {
        scene_plan p;
        scene s;
        draw_plan(&p, 1e6, &r);
        scene_open(&s, &p, &r);
        draw_masks(&s.params, 300, &r);
        whole first = whole_new(&s), again = whole_new(&s);
        attend(&s, &first); /* NaN bytes */
        for (size_t f = 0; f < sizeof fills / sizeof fills[0]; f++) {
            edge e = workspace_new(&s.params, s.segments, s.n_segments, fills[f]);
            assert_int_equal(tq_attention(&s.params, s.segments, s.n_segments, s.q,
                                          scene_rows(&s) * s.params.head_dim, again.out.data,
                                          scene_rows(&s) * scene_v_dim(&s), again.lse.data,
                                          scene_rows(&s), e.data, e.size),
                             TQ_OK);
            edge_free(&e);
            assert_memory_equal(first.out.data, again.out.data, first.out.size);
            assert_memory_equal(first.lse.data, again.lse.data, first.lse.size);
        }
        whole_free(&first);
        whole_free(&again);
        scene_close(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_on_any_number_of_threads),
        cmocka_unit_test(long_caches_are_split),
        cmocka_unit_test(many_queries),
        cmocka_unit_test(workspace_content_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
