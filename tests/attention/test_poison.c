/* SPDX-License-Identifier: MIT
 * What float32 cannot carry shows in the rows that see it, and in no others: NaN and infinities in keys,
 * values, norms and centres, and scores and sums beyond float32. On every level, in either
 * arithmetic, alike. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "call.h"
#include "draw.h"
#include "support/cm.h"
#include "tqkv/cpu.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static bool all_nan(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isnan(x[i])) return false;
    return true;
}

typedef struct results {
    whole whole;
    partial partial;
} results;

static tq_arithmetic arithmetic;

static results results_of(const scene *s) {
    results r = {whole_new(s), partial_new(s)};
    scene asked = *s;
    asked.params.arithmetic = arithmetic;
    attend(&asked, &r.whole);
    attend_partly(&asked, s->segments, s->n_segments, &r.partial);
    return r;
}

static void results_free(results *r) {
    whole_free(&r->whole);
    partial_free(&r->partial);
}

static void assert_nan(const scene *s, const results *r, size_t row, const char *what) {
    const size_t dim = s->params.head_dim;
    const float *lse = r->whole.lse.data, *out = r->whole.out.data;
    const float *acc = r->partial.acc.data, *max = r->partial.max.data, *sum = r->partial.sum.data;
    if (!isnan(lse[row]) || !all_nan(out + row * dim, dim))
        fail_msg("%s: row %zu sees it, and out is %g.., lse %g", what, row, (double)out[row * dim],
                 (double)lse[row]);
    if (!isnan(max[row]) || !isnan(sum[row]) || !all_nan(acc + row * dim, dim))
        fail_msg("%s: row %zu sees it, and acc is %g.., max %g, sum %g", what, row,
                 (double)acc[row * dim], (double)max[row], (double)sum[row]);
}

static void assert_same(const scene *s, const results *r, const results *clean, size_t row,
                        const char *what) {
    const size_t dim = s->params.head_dim, bytes = dim * sizeof(float);
    const float *const got[] = {(float *)r->whole.out.data + row * dim,
                                (float *)r->partial.acc.data + row * dim,
                                (float *)r->whole.lse.data + row, (float *)r->partial.max.data + row,
                                (float *)r->partial.sum.data + row};
    const float *const want[] = {
        (float *)clean->whole.out.data + row * dim, (float *)clean->partial.acc.data + row * dim,
        (float *)clean->whole.lse.data + row, (float *)clean->partial.max.data + row,
        (float *)clean->partial.sum.data + row};
    for (size_t i = 0; i < COUNT(got); i++)
        if (memcmp(got[i], want[i], i < 2 ? bytes : sizeof(float)) != 0)
            fail_msg("%s: row %zu does not see it, and result %zu changed from %g to %g", what, row, i,
                     (double)*want[i], (double)*got[i]);
}

static void spoil_norm(const tq_view *view, uint8_t *norm, float bad) {
    const uint16_t half = isnan(bad) ? 0x7fff : bad < 0 ? 0xfc00 : 0x7c00;
    if (TQ_IS_V1(view->codec.format))
        memcpy(norm, &bad, sizeof bad);
    else
        memcpy(norm, &half, sizeof half);
}

/* The first element of a position of KV head 0 becomes `bad`; the segment is number 0, its rows lie side
 * by side. */
static void spoil(scene *s, bool keys, size_t position, float bad) {
    side *to = keys ? &s->k[0] : &s->v[0];
    const tq_view *view = keys ? &s->segments[0].k : &s->segments[0].v;
    const size_t dim = s->params.head_dim;
    if (view->store == TQ_STORE_CODES)
        spoil_norm(view,
                   to->norms.data + position * (to->norms.size / view->capacity / s->params.n_kv_heads),
                   bad);
    else if (view->store == TQ_STORE_F32)
        ((float *)(void *)to->data.data)[position * dim] = bad;
    else { /* all ones is a NaN in both; infinities differ in where the exponent ends */
        const unsigned infinity = view->store == TQ_STORE_F16 ? 0x7c00 : 0x7f80,
                       sign = bad < 0 ? 0x8000 : 0;
        ((uint16_t *)(void *)to->data.data)[position * dim] =
            (uint16_t)(isnan(bad) ? 0x7fff : infinity | sign);
    }
}

/* Whether row `row` of the scene sees that position of head 0. */
static bool sees(const scene *s, size_t row, size_t position) {
    const tq_attention_params *p = &s->params;
    const size_t h = row / p->n_queries;
    const uint64_t query = p->query_end - p->n_queries + row % p->n_queries;
    if (h / (p->n_heads / p->n_kv_heads) != 0) return false;
    if (position > query) return false;
    return p->window == 0 || query - position < p->window;
}

static void check_spoiled(const scene_plan *plan, uint64_t window, float softcap, bool keys,
                          size_t position, float bad, const char *what) {
    rng r = {77};
    scene s;
    scene_open(&s, plan, &r);
    s.params.bidirectional = 0;
    s.params.query_end = plan->segment[0].length;
    s.params.window = window;
    s.params.softcap = softcap;
    results clean = results_of(&s);
    spoil(&s, keys, position, bad);
    results got = results_of(&s);
    size_t touched = 0;
    for (size_t row = 0; row < scene_rows(&s); row++)
        if (sees(&s, row, position)) {
            assert_nan(&s, &got, row, what);
            touched++;
        } else {
            assert_same(&s, &got, &clean, row, what);
        }
    assert_true(touched > 0 && touched < scene_rows(&s));
    results_free(&clean);
    results_free(&got);
    scene_close(&s);
}

static void every_level(void (*check)(void)) {
    size_t n;
    const tq_isa *isas = tq_isas(&n);
    tq_isa before;
    assert_int_equal(tq_isa_active(&before), TQ_OK);
    for (size_t i = 0; i < n; i++)
        for (int a = TQ_ARITHMETIC_FLOAT; a <= TQ_ARITHMETIC_INTEGER; a++) {
            arithmetic = (tq_arithmetic)a;
            if (tq_isa_set(isas[i]) == TQ_OK) check();
        }
    assert_int_equal(tq_isa_set(before), TQ_OK);
}

/* Every store, a step and a chunk that masks cut through; whether chunks and splits end beside it. */
static void stored_values_here(void) {
    static const float bads[] = {NAN, INFINITY, -INFINITY};
    static const struct {
        size_t queries, length, window, position;
    } cases[] = {{1, 40, 0, 3},      {9, 140, 0, 135},   {9, 140, 20, 119},  {40, 150, 0, 120},
                 {3, 700, 300, 400}, {2, 4300, 0, 4298}, {2, 4300, 0, 4096}, {40, 700, 0, 690}};
    for (unsigned store = 0; store < STORES; store++)
        for (size_t c = 0; c < (store == 2 ? COUNT(cases) : 4); c++) /* the others take long */
            for (int keys = 0; keys < 2; keys++) {
                const uint32_t dim = store >= V2_STORES && store < ENCODED_STORES ? 256 : 64;
                scene_plan p = plain_plan(2, 2, dim, cases[c].queries, cases[c].length);
                p.centre = true; /* rows that are worked on again by themselves have theirs */
                p.stretch = c % 2 == 0 ? 0 : 50;
                set_store(&p.segment[0].k, store);
                set_store(&p.segment[0].v, store);
                char what[64];
                snprintf(what, sizeof what, "store %u, case %zu, %s", store, c, keys ? "key" : "value");
                check_spoiled(&p, cases[c].window, c % 2 == 1 ? 20.0f : 0.0f, keys == 1,
                              cases[c].position, bads[(store + c) % COUNT(bads)], what);
            }
}

static void stored_values(void **state) {
    (void)state;
    every_level(stored_values_here);
}

/* What weighs nothing beside another split is seen all the same. */
static void weightless(void **state) {
    (void)state;
    rng r = {8};
    scene_plan p = plain_plan(1, 1, 64, 1, 4200);
    scene s;
    scene_open(&s, &p, &r);
    float *k = (float *)(void *)s.k[0].data.data;
    for (size_t j = 0; j < 64; j++)
        k[4150 * 64 + j] = 100 * s.q[j];
    spoil(&s, false, 3, NAN);
    results got = results_of(&s);
    assert_nan(&s, &got, 0, "value without weight");
    results_free(&got);
    scene_close(&s);
}

static void centres_here(void) {
    rng r = {5};
    scene_plan p = plain_plan(4, 2, 64, 2, 60);
    scene s;
    set_store(&p.segment[0].k, 2);
    p.centre = true;
    scene_open(&s, &p, &r);
    results clean = results_of(&s);
    ((uint16_t *)(void *)s.centres[0].data)[64 + 7] = 0x7e00; /* of KV head 1 */
    results got = results_of(&s);
    for (size_t row = 0; row < scene_rows(&s); row++)
        if (row / 2 / 2 == 1)
            assert_nan(&s, &got, row, "centre");
        else
            assert_same(&s, &got, &clean, row, "centre");
    results_free(&clean);
    results_free(&got);
    scene_close(&s);
}

static void centres(void **state) {
    (void)state;
    every_level(centres_here);
}

/* Scores of +-1e40, and the sum of values that are near the largest float. */
static void beyond_float32_here(void) {
    for (int i = 0; i < 6; i++) {
        rng r = {6};
        scene_plan p = plain_plan(2, 1, 64, 3, 50);
        scene s;
        scene_open(&s, &p, &r);
        float *k = (float *)(void *)s.k[0].data.data, *v = (float *)(void *)s.v[0].data.data;
        const bool key = i < 4;
        for (size_t j = 0; j < 64; j++) {
            if (key) k[20 * 64 + j] = copysignf(1e38f, s.q[j]) * (i % 2 == 0 ? 1.0f : -1.0f);
            for (size_t t = 0; !key && t < 50; t++)
                v[t * 64 + j] = i == 4 ? 3e38f : -3e38f;
        }
        s.params.scale = key ? 100.0f : 1e-3f;
        s.params.softcap = i >= 2 && key ? 30.0f : 0.0f;
        results got = results_of(&s);
        /* Row 0 has the query that the key was made from; a softcap does not hide it. */
        assert_nan(&s, &got, 0, key ? "score beyond float32" : "sum beyond float32");
        results_free(&got);
        scene_close(&s);
    }
}

static void beyond_float32(void **state) {
    (void)state;
    every_level(beyond_float32_here);
}

/* Partial results that are not finite make their row NaN, wherever in the list they are. */
static void merges(void **state) {
    (void)state;
    enum { H = 2, N = 2, D = 32, ROWS = H * N };
    for (int what = 0; what < 6; what++)
        for (int part = 0; part < 2; part++) {
            float acc[2][ROWS * D], max[2][ROWS], sum[2][ROWS], out[ROWS * D], lse[ROWS];
            const float *accs[] = {acc[0], acc[1]}, *maxs[] = {max[0], max[1]},
                        *sums[] = {sum[0], sum[1]};
            for (int i = 0; i < 2; i++)
                for (size_t j = 0; j < ROWS * D; j++)
                    acc[i][j] = sum[i][j / D] = 1, max[i][j / D] = (float)i;
            float *const spoilt[] = {&acc[part][D + 5], &max[part][1], &max[part][1],
                                     &sum[part][1],     &sum[part][1], &acc[part][D + 5]};
            const float bad[] = {NAN, NAN, INFINITY, NAN, INFINITY, -INFINITY};
            *spoilt[what] = bad[what];
            assert_int_equal(tq_attention_merge(2, H, N, D, accs, maxs, sums, NULL, out, lse), TQ_OK);
            for (size_t row = 0; row < ROWS; row++) {
                if (row == 1 ? !isnan(lse[row]) || !all_nan(out + row * D, D)
                             : !isfinite(lse[row]) || !isfinite(out[row * D]))
                    fail_msg("spoilt %d of part %d: row %zu is %g.., lse %g", what, part, row,
                             (double)out[row * D], (double)lse[row]);
            }
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_values),  cmocka_unit_test(weightless), cmocka_unit_test(centres),
        cmocka_unit_test(beyond_float32), cmocka_unit_test(merges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
