/* SPDX-License-Identifier: MIT
 * What is wrong with parameters, buffers and partials is refused by name, and not a byte is written. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "draw.h"
#include "refuse.h"
#include "support/cm.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* An encoded and a dense segment: 4 heads on 2, D 64, 3 queries, sinks and a centre. */
static void open_stage(stage *st) {
    rng r = {1};
    scene_plan p = plain_plan(4, 2, 64, 3, 20);
    p.n_segments = 2;
    p.segment[1] = p.segment[0];
    set_store(&p.segment[0].k, 2);
    set_store(&p.segment[0].v, 4);
    p.segment[0].v.page_rows = 6;
    p.segment[1].first_position = 20;
    p.sinks = p.centre = true;
    stage_open(st, &p, &r);
}

static void pointers(void **state) {
    (void)state;
    stage st;
    attempt good, a;
    open_stage(&st);
    attempt_make(&good, &st);
    attempt_make(&a, &st);
    a.p = NULL;
    assert_refused(&st, &a, BY_ALL, TQ_E_NULL, "params");
    attempt_make(&a, &st);
    a.s = NULL;
    assert_refused(&st, &a, BY_ALL, TQ_E_NULL, "segments");
    float **const needed[] = {&a.out, &a.acc, &a.max, &a.sum};
    static const char *const names[] = {"out", "acc", "max", "sum"};
    for (size_t i = 0; i < COUNT(needed); i++) {
        attempt_make(&a, &st);
        *needed[i] = NULL;
        assert_refused(&st, &a, i == 0 ? BY_WHOLE : BY_PARTIAL, TQ_E_NULL, names[i]);
    }
    attempt_make(&a, &st);
    a.q = NULL;
    assert_refused(&st, &a, BY_BOTH, TQ_E_NULL, "q");
    attempt_make(&a, &st);
    a.workspace = NULL;
    assert_refused(&st, &a, BY_BOTH, TQ_E_NULL, "workspace");
    assert_int_equal(tq_attention_workspace(good.p, good.s, good.n_segments, NULL), TQ_E_NULL);
    assert_accepted(&good);
    stage_close(&st);
}

/* What is not subtracted from values and dense keys is not looked for there. */
static void centres(void **state) {
    (void)state;
    stage st;
    attempt good, a;
    open_stage(&st);
    attempt_make(&good, &st);
    assert_non_null(good.segments[0].k.centre);
    tq_view *const wrong[] = {&a.segments[0].v, &a.segments[1].v, &a.segments[1].k};
    static const char *const names[] = {"v", "v", "k"};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        attempt_make(&a, &st);
        wrong[i]->centre = good.segments[0].k.centre;
        assert_refused(&st, &a, BY_ALL, TQ_E_FORMAT, names[i]);
    }
    assert_accepted(&good);
    stage_close(&st);
}

static void shapes(void **state) {
    (void)state;
    static const uint32_t heads[][2] = {{0, 2}, {4, 0}, {0, 0}, {3, 2}, {1, 2}, {5, 2}, {2, UINT32_MAX}};
    static const uint32_t dims[] = {0, 1, 16, 33, 48, 63, 72, 128, 1040, UINT32_MAX};
    stage st;
    attempt a;
    open_stage(&st);
    for (size_t i = 0; i < COUNT(heads); i++) {
        attempt_make(&a, &st);
        a.params.n_heads = heads[i][0];
        a.params.n_kv_heads = heads[i][1];
        assert_refused(&st, &a, BY_ALL, TQ_E_HEADS, NULL);
    }
    for (size_t i = 0; i < COUNT(dims); i++) {
        attempt_make(&a, &st);
        a.params.head_dim = dims[i];
        assert_refused(&st, &a, BY_ALL, TQ_E_HEAD_DIM, NULL);
    }
    /* Dense rows are not encoded in any format, but their dimension is one the others could have. */
    for (uint32_t dim = 8; dim <= 2064; dim += 1028) {
        attempt_make(&a, &st);
        a.params.head_dim = a.segments[1].k.codec.head_dim = a.segments[1].v.codec.head_dim = dim;
        a.s = &a.segments[1];
        a.n_segments = 1;
        assert_refused(&st, &a, BY_ALL, TQ_E_HEAD_DIM, NULL);
    }
    attempt_make(&a, &st);
    assert_accepted(&a);
    stage_close(&st);
}

static void numbers(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    stage st;
    attempt a;
    open_stage(&st);
    for (size_t i = 0; i < COUNT(bad); i++) {
        attempt_make(&a, &st);
        a.params.scale = bad[i];
        assert_refused(&st, &a, BY_ALL, TQ_E_NOT_FINITE, "scale");
        attempt_make(&a, &st);
        a.params.softcap = bad[i];
        assert_refused(&st, &a, BY_ALL, TQ_E_NOT_FINITE, "softcap");
    }
    attempt_make(&a, &st);
    a.params.arithmetic = (tq_arithmetic)3;
    assert_refused(&st, &a, BY_ALL, TQ_E_FORMAT, "arithmetic");
    attempt_make(&a, &st);
    a.params.scale = 0.0f;
    assert_refused(&st, &a, BY_ALL, TQ_E_SCALE, "scale");
    a.params.scale = -0.0f;
    assert_refused(&st, &a, BY_ALL, TQ_E_SCALE, "scale");
    attempt_make(&a, &st);
    a.params.n_queries = 0;
    assert_refused(&st, &a, BY_ALL, TQ_E_SIZE, "n_queries");
    for (int domain = -1; domain <= 3; domain++) {
        attempt_make(&a, &st);
        a.params.domain = (tq_domain)domain;
        if (domain != TQ_ROTATED && domain != TQ_ORIGINAL) {
            assert_refused(&st, &a, BY_ALL, TQ_E_DOMAIN, "domain");
            a.params.domain = TQ_ORIGINAL;
            a.segments[1].v.domain = (tq_domain)domain;
            assert_refused(&st, &a, BY_ALL, TQ_E_DOMAIN, "v");
            continue;
        }
        /* Dense vectors must be said to be rotated as the queries are; of codes it is known. */
        a.segments[1].k.domain = a.segments[1].v.domain = a.params.domain;
        assert_accepted(&a);
        stage_save(&st);
        a.segments[0].k.domain = a.segments[0].v.domain = TQ_ROTATED;
        a.segments[1].k.domain = domain == TQ_ROTATED ? TQ_ORIGINAL : TQ_ROTATED;
        assert_refused(&st, &a, BY_ALL, TQ_E_DOMAIN, "k");
        a.segments[1].k.domain = a.params.domain;
        a.segments[1].v.domain = domain == TQ_ROTATED ? TQ_ORIGINAL : TQ_ROTATED;
        assert_refused(&st, &a, BY_ALL, TQ_E_DOMAIN, "v");
    }
    stage_close(&st);
}

/* Arrays with an element less than their shape asks for. */
static void counts(void **state) {
    (void)state;
    stage st;
    attempt good, a;
    open_stage(&st);
    attempt_make(&good, &st);
    const size_t rows = scene_rows(&st.scene), dim = good.params.head_dim;
    good.n_q = good.n_out = rows * dim;
    good.n_lse = rows;
    assert_accepted(&good);
    stage_save(&st);
    a = good;
    a.p = &a.params;
    a.s = a.segments;
    a.n_q--;
    assert_refused(&st, &a, BY_BOTH, TQ_E_SIZE, "q");
    a.n_q++;
    a.n_out--;
    assert_refused(&st, &a, BY_WHOLE, TQ_E_SIZE, "out");
    assert_refused(&st, &a, BY_PARTIAL, TQ_E_SIZE, "acc");
    a.n_out++;
    a.n_lse--;
    assert_refused(&st, &a, BY_WHOLE, TQ_E_SIZE, "lse");
    assert_refused(&st, &a, BY_PARTIAL, TQ_E_SIZE, "max");
    stage_close(&st);
}

static void queries_that_are_not_finite(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    stage st;
    attempt a;
    open_stage(&st);
    float *q = (float *)(void *)st.scene.q_memory.data;
    const size_t n = scene_rows(&st.scene) * st.scene.params.head_dim;
    attempt_make(&a, &st);
    for (size_t i = 0; i < n; i += i == 63 ? 1 : 21) {
        const float kept = q[i], last = q[n - 1];
        q[n - 1] = NAN; /* the first one is named */
        q[i] = bad[i % COUNT(bad)];
        assert_refused(&st, &a, BY_BOTH, TQ_E_NOT_FINITE, "q");
        assert_int_equal(tq_last_error()->index, i);
        q[n - 1] = last;
        q[i] = kept;
    }
    q[n - 1] = -INFINITY;
    assert_refused(&st, &a, BY_BOTH, TQ_E_NOT_FINITE, "q");
    assert_int_equal(tq_last_error()->index, n - 1);
    stage_close(&st);
}

/* A whole takes them; a partial leaves them to the merge. */
static void sinks_that_are_not_finite(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    stage st;
    attempt a;
    open_stage(&st);
    float *sinks = (float *)(void *)st.scene.sinks.data;
    attempt_make(&a, &st);
    for (size_t i = 0; i < 4; i++) {
        const float kept = sinks[i];
        sinks[i] = bad[i % COUNT(bad)];
        assert_refused(&st, &a, BY_WHOLE, TQ_E_NOT_FINITE, "sinks");
        assert_int_equal(tq_last_error()->index, i);
        sinks[i] = kept;
    }
    assert_accepted(&a);
    stage_close(&st);
}

/* Where queries stand, where a mask asks for it. */
static void query_positions(void **state) {
    (void)state;
    stage st;
    attempt a;
    open_stage(&st);
    for (int window = 0; window < 2; window++) {
        attempt_make(&a, &st);
        a.params.bidirectional = window;
        a.params.window = window == 0 ? 0 : 7;
        assert_refused(&st, &a, BY_PARTIAL, TQ_E_POSITION, "query_end"); /* a part does not tell */
        a.params.query_end = 2;                                          /* three queries */
        assert_refused(&st, &a, BY_ALL, TQ_E_POSITION, "query_end");
        a.params.query_end = 0;
        a.n_segments = 0;
        assert_refused(&st, &a, BY_ALL, TQ_E_POSITION, "query_end");
        a.params.query_end = 3;
        assert_accepted(&a);
        stage_save(&st);
    }
    /* Positions in two segments, in whatever order they come. */
    for (size_t i = 0; i < 2; i++) {
        attempt_make(&a, &st);
        a.segments[1].first_position = i == 0 ? 0 : 19;
        assert_refused(&st, &a, BY_ALL, TQ_E_POSITION, "segments");
        assert_int_equal(tq_last_error()->index, 1);
    }
    stage_close(&st);
}

static void workspaces(void **state) {
    (void)state;
    stage st;
    attempt a;
    open_stage(&st);
    attempt_make(&a, &st);
    const size_t enough = a.workspace_bytes;
    assert_true(enough > 0);
    static const size_t missing[] = {1, 2, 64};
    for (size_t i = 0; i < COUNT(missing); i++) {
        a.workspace_bytes = enough - missing[i];
        assert_refused(&st, &a, BY_BOTH, TQ_E_SIZE, "workspace");
    }
    a.workspace_bytes = 0;
    assert_refused(&st, &a, BY_BOTH, TQ_E_SIZE, "workspace");
    edge larger = edge_new((enough + 127) / 64 * 64);
    for (size_t off = 1; off < 64; off *= 2) {
        a.workspace = larger.data + off;
        a.workspace_bytes = enough;
        assert_refused(&st, &a, BY_BOTH, TQ_E_SIZE, "workspace");
    }
    a.workspace = larger.data + 64;
    assert_accepted(&a);
    edge_free(&larger);
    stage_close(&st);
}

/* Sizes that no memory holds, and sizes that it would: nothing may be read before that is known. */
static void too_many_queries(void **state) {
    (void)state;
    static const size_t too_many[] = {SIZE_MAX, SIZE_MAX / 4, SIZE_MAX / 16, SIZE_MAX / 1024,
                                      SIZE_MAX / 2048};
    stage st;
    attempt a;
    open_stage(&st);
    attempt_make(&a, &st);
    for (size_t i = 0; i < COUNT(too_many); i++) {
        a.params.n_queries = too_many[i];
        assert_refused(&st, &a, BY_ALL, TQ_E_OVERFLOW, NULL);
    }
    a.params.n_queries = (size_t)1 << 36;
    assert_refused(&st, &a, BY_BOTH, TQ_E_SIZE, "workspace");
    /* Beyond what 64 bits count: positions of keys and of queries. */
    attempt_make(&a, &st);
    a.segments[1].first_position = UINT64_MAX;
    assert_refused(&st, &a, BY_ALL, TQ_E_POSITION, NULL);
    attempt_make(&a, &st);
    a.segments[1].first_position = UINT64_MAX - 2;
    a.segments[1].length = 5;
    assert_refused(&st, &a, BY_ALL, TQ_E_POSITION, NULL);
    stage_close(&st);
}

static void merges(void **state) {
    (void)state;
    guard out = guard_new(2 * 3 * 32 * sizeof(float)), lse = guard_new(2 * 3 * sizeof(float));
    float acc[2 * 3 * 32] = {0}, max[2 * 3] = {0}, sum[2 * 3] = {1, 1, 1, 1, 1, 1};
    const float *accs[] = {acc, acc}, *maxs[] = {max, max}, *sums[] = {sum, sum};
    const float **const lists[] = {accs, maxs, sums};
    const float *const *args[3];
    float *o = out.data, *l = lse.data;
    const size_t n = 2;
    assert_int_equal(tq_attention_merge(0, 2, 3, 32, accs, maxs, sums, NULL, o, l), TQ_E_SIZE);
    assert_int_equal(tq_attention_merge(n, 2, 3, 32, accs, maxs, sums, NULL, NULL, l), TQ_E_NULL);
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 3; j++)
            args[j] = j == i ? NULL : lists[j];
        assert_int_equal(tq_attention_merge(n, 2, 3, 32, args[0], args[1], args[2], NULL, o, l),
                         TQ_E_NULL);
        for (size_t part = 0; part < n; part++) {
            const float *kept = lists[i][part];
            lists[i][part] = NULL;
            assert_int_equal(tq_attention_merge(n, 2, 3, 32, accs, maxs, sums, NULL, o, l), TQ_E_NULL);
            lists[i][part] = kept;
        }
    }
    static const size_t huge[][3] = {{SIZE_MAX, 3, 32},
                                     {2, SIZE_MAX, 32},
                                     {2, 3, SIZE_MAX},
                                     {SIZE_MAX / 64, 3, 32},
                                     {2, SIZE_MAX / 256, 32}};
    for (size_t i = 0; i < COUNT(huge); i++)
        assert_int_equal(
            tq_attention_merge(n, huge[i][0], huge[i][1], huge[i][2], accs, maxs, sums, NULL, o, l),
            TQ_E_OVERFLOW);
    assert_int_equal(tq_last_error()->status, TQ_E_OVERFLOW);
    assert_int_equal(tq_attention_merge(n, 2, 3, 0, accs, maxs, sums, NULL, o, l), TQ_E_HEAD_DIM);
    const struct {
        float *out, *lse;
    } overlaps[] = {{acc + 1, l}, {max, l}, {sum, l},    {o, acc + 191},
                    {o, max + 5}, {o, sum}, {o, o + 191}};
    for (size_t i = 0; i < COUNT(overlaps); i++)
        assert_int_equal(
            tq_attention_merge(n, 2, 3, 32, accs, maxs, sums, NULL, overlaps[i].out, overlaps[i].lse),
            TQ_E_OVERLAP);
    float own[2 * 3 * 32];
    const float *apart[] = {own, acc};
    assert_int_equal(tq_attention_merge(n, 2, 3, 32, apart, maxs, sums, NULL, acc, l), TQ_E_OVERLAP);
    float sinks[] = {1, NAN};
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < COUNT(bad); i++) {
        sinks[1] = bad[i];
        assert_int_equal(tq_attention_merge(n, 2, 3, 32, accs, maxs, sums, sinks, o, l), TQ_E_NOT_FINITE);
        assert_string_equal(tq_last_error()->field, "sinks");
        assert_int_equal(tq_last_error()->index, 1);
    }
    guard_assert_untouched(&out);
    guard_assert_untouched(&lse);
    assert_int_equal(tq_attention_merge(n, 2, 3, 32, accs, maxs, sums, NULL, o, l), TQ_OK);
    guard_free(&out);
    guard_free(&lse);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pointers),
        cmocka_unit_test(centres),
        cmocka_unit_test(shapes),
        cmocka_unit_test(numbers),
        cmocka_unit_test(counts),
        cmocka_unit_test(queries_that_are_not_finite),
        cmocka_unit_test(sinks_that_are_not_finite),
        cmocka_unit_test(query_positions),
        cmocka_unit_test(workspaces),
        cmocka_unit_test(too_many_queries),
        cmocka_unit_test(merges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
