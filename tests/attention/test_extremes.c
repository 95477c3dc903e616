/* SPDX-License-Identifier: MIT
 * Scores too large for exp(), equal keys, one key: results stay finite and within the values' hull. */
#include <math.h>
#include <string.h>

#include "call.h"
#include "draw.h"
#include "model.h"
#include "support/cm.h"

/* Whatever the weights came to, an output lies between the smallest and the largest value (0 with them
 * when a sink takes weight). */
static void assert_within_values(const scene *s, const float *out) {
    const tq_attention_params *p = &s->params;
    for (size_t i = 0; i < scene_rows(s) * p->head_dim; i++) {
        const size_t g = i / p->head_dim / p->n_queries / (p->n_heads / p->n_kv_heads);
        double least = p->sinks == NULL ? (double)INFINITY : 0, most = -least;
        for (size_t t = 0; t < s->n_segments; t++)
            for (size_t j = 0; j < s->segments[t].length; j++) {
                const double v =
                    s->v[t].values[(g * s->segments[t].length + j) * p->head_dim + i % p->head_dim];
                least = fmin(least, v);
                most = fmax(most, v);
            }
        const double slack = 1e-5 * (1 + most - least);
        if (!((double)out[i] >= least - slack && (double)out[i] <= most + slack))
            fail_msg("out[%zu] is %g, the values go from %g to %g", i, (double)out[i], least, most);
    }
}

static void repeat_row(scene *s, float sign) {
    float *k = (float *)(void *)s->k[0].data.data;
    const size_t dim = s->params.head_dim;
    for (size_t i = 0; i < s->params.n_kv_heads * s->segments[0].length * dim; i++) {
        k[i] = sign * s->q[i % dim]; /* the first query, so that its scores are sign * |q|^2 * scale */
        s->k[0].values[i] = (double)k[i];
    }
}

/* A dense and an encoded segment; scores of some 1e5 decide for a single key. */
static void huge_scores(void **state) {
    (void)state;
    static const float scales[] = {1e4f, -1e4f, 1e30f, -1e30f};
    rng r = {1};
    for (size_t i = 0; i < 4 * 4; i++) {
        scene_plan p = plain_plan(4, 2, 128, 2, 60);
        scene s;
        draw_segments(&p, 60, &r);
        p.sinks = i % 2 == 0;
        scene_open(&s, &p, &r);
        s.params.scale = scales[i / 4];
        s.params.softcap = i / 2 % 2 == 0 ? 0.0f : 50.0f;
        whole got = whole_new(&s);
        if (fabsf(s.params.scale) < 1e5f) {
            attend(&s, &got);
            assert_within_values(&s, got.out.data);
            const float *lse = got.lse.data;
            for (size_t j = 0; j < scene_rows(&s); j++)
                assert_true(isfinite(lse[j]) && (s.params.softcap == 0.0f || fabsf(lse[j]) < 60));
        } else if (s.params.softcap != 0.0f) { /* or the scores may overflow */
            attend(&s, &got);
            assert_within_values(&s, got.out.data);
        }
        whole_free(&got);
        scene_close(&s);
    }
}

static void equal_keys(void **state) {
    (void)state;
    static const float scales[] = {1e-30f, 0.01f, 0.1f, 1.0f, 1e4f};
    rng r = {2};
    for (size_t i = 0; i < 2 * sizeof scales / sizeof scales[0]; i++) {
        scene_plan p = plain_plan(1, 1, 64, 1, 77);
        scene s;
        worst w = {0};
        scene_open(&s, &p, &r);
        repeat_row(&s, i % 2 == 0 ? 1.0f : -1.0f);
        s.params.scale = scales[i / 2];
        whole got = whole_new(&s);
        attend(&s, &got);
        assert_within_values(&s, got.out.data);
        assert_attends(&s, got.out.data, got.lse.data, &w);
        whole_free(&got);
        scene_close(&s);
    }
}

static void one_key(void **state) {
    (void)state;
    rng r = {3};
    for (unsigned store = 0; store < STORES; store++) {
        scene_plan p = plain_plan(2, 2, 512, 1, 1);
        scene s;
        worst w = {0};
        set_store(&p.segment[0].k, store);
        set_store(&p.segment[0].v, store);
        scene_open(&s, &p, &r);
        whole got = whole_new(&s);
        attend(&s, &got);
        assert_attends(&s, got.out.data, got.lse.data, &w);
        whole_free(&got);
        scene_close(&s);
    }
}

/* Sinks far above and far below all scores: everything or nothing of the weight. */
static void extreme_sinks(void **state) {
    (void)state;
    rng r = {4};
    scene_plan p = plain_plan(4, 2, 64, 2, 50);
    scene s;
    worst w = {0};
    set_store(&p.segment[0].k, 2);
    set_store(&p.segment[0].v, 3);
    p.sinks = true;
    scene_open(&s, &p, &r);
    const float sinks[] = {1e4f, -1e4f, 60.0f, -60.0f};
    memcpy(s.sinks.data, sinks, sizeof sinks);
    whole got = whole_new(&s);
    attend(&s, &got);
    assert_attends(&s, got.out.data, got.lse.data, &w);
    whole_free(&got);
    scene_close(&s);
}

static void zero_values_and_queries(void **state) {
    (void)state;
    rng r = {5};
    for (unsigned store = 0; store < STORES; store++) {
        scene_plan p = plain_plan(2, 1, 256, 2, 40);
        scene s;
        worst w = {0};
        set_store(&p.segment[0].k, store);
        set_store(&p.segment[0].v, STORES - 1 - store);
        p.spread = store % 2 == 0 ? 0 : 1e-42; /* subnormal queries */
        scene_open(&s, &p, &r);
        whole got = whole_new(&s);
        attend(&s, &got);
        assert_attends(&s, got.out.data, got.lse.data, &w);
        whole_free(&got);
        scene_close(&s);
    }
}

/* out has the same bits whether lse is wanted or not. */
static void lse_is_optional(void **state) {
    (void)state;
    rng r = {6};
    scene_plan p = plain_plan(4, 2, 64, 3, 150);
    scene s;
    draw_segments(&p, 150, &r);
    scene_open(&s, &p, &r);
    whole with = whole_new(&s), without = whole_new(&s);
    attend(&s, &with);
    edge e = workspace_new(&s.params, s.segments, s.n_segments, 0);
    assert_int_equal(tq_attention(&s.params, s.segments, s.n_segments, s.q,
                                  scene_rows(&s) * s.params.head_dim, without.out.data,
                                  scene_rows(&s) * scene_v_dim(&s), NULL, 0, e.data, e.size),
                     TQ_OK);
    assert_memory_equal(with.out.data, without.out.data, with.out.size);
    edge_free(&e);
    whole_free(&with);
    whole_free(&without);
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(huge_scores),     cmocka_unit_test(equal_keys),
        cmocka_unit_test(one_key),         cmocka_unit_test(extreme_sinks),
        cmocka_unit_test(lse_is_optional), cmocka_unit_test(zero_values_and_queries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
