/* SPDX-License-Identifier: MIT
 * The same bits on every level of instruction sets, in either arithmetic: scalar's. */
#include <string.h>

#include "call.h"
#include "draw.h"
#include "support/cm.h"
#include "tqkv/cpu.h"

/* Numbers alike but for what a NaN holds. */
static void assert_same(const void *a, const void *b, size_t bytes, const char *level, const char *what) {
    const float *x = a, *y = b;
    for (size_t i = 0; i < bytes / sizeof *x; i++)
        if (memcmp(&x[i], &y[i], sizeof *x) != 0 && (x[i] == x[i] || y[i] == y[i]))
            fail_msg("%s, %s %zu: %a, and scalar's is %a", level, what, i, (double)y[i], (double)x[i]);
}

/* Returns how many levels there were beside scalar. */
static size_t check_arithmetic(const scene *s) {
    size_t n, others = 0;
    const tq_isa *isas = tq_isas(&n);
    whole want = whole_new(s), got = whole_new(s);
    partial want_open = partial_new(s), got_open = partial_new(s);
    assert_int_equal(tq_isa_set(TQ_ISA_SCALAR), TQ_OK);
    attend(s, &want);
    attend_partly(s, s->segments, s->n_segments, &want_open);
    for (size_t i = 0; i < n; i++) {
        if (isas[i] == TQ_ISA_SCALAR || tq_isa_set(isas[i]) != TQ_OK) continue;
        const char *name = tq_isa_name(isas[i]);
        others++;
        attend(s, &got);
        attend_partly(s, s->segments, s->n_segments, &got_open);
        assert_same(want.out.data, got.out.data, want.out.size, name, "out");
        assert_same(want.lse.data, got.lse.data, want.lse.size, name, "lse");
        assert_same(want_open.acc.data, got_open.acc.data, want_open.acc.size, name, "acc");
        assert_same(want_open.max.data, got_open.max.data, want_open.max.size, name, "max");
        assert_same(want_open.sum.data, got_open.sum.data, want_open.sum.size, name, "sum");
    }
    whole_free(&want);
    whole_free(&got);
    partial_free(&want_open);
    partial_free(&got_open);
    return others;
}

static size_t check_levels(scene *s) {
    s->params.arithmetic = TQ_ARITHMETIC_INTEGER;
    check_arithmetic(s);
    s->params.arithmetic = TQ_ARITHMETIC_FLOAT;
    return check_arithmetic(s);
}

static void drawn(void **state) {
    (void)state;
    rng r = {1};
    size_t others = 0;
    for (int i = 0; i < 150; i++) {
        scene_plan p;
        scene s;
        draw_plan(&p, 1e6, &r);
        scene_open(&s, &p, &r);
        draw_masks(&s.params, 300, &r);
        others = check_levels(&s);
        scene_close(&s);
    }
    if (others == 0) skip();
}

/* Split, and long enough for sums in two levels. */
static void long_caches(void **state) {
    (void)state;
    rng r = {2};
    for (size_t queries = 1; queries <= 9; queries += 4) {
        scene_plan p = plain_plan(4, 2, 64, queries, 5000);
        scene s;
        draw_segments(&p, 5000, &r);
        draw_layouts(&p, &r);
        scene_open(&s, &p, &r);
        check_levels(&s);
        scene_close(&s);
    }
}

static tq_isa before;

static int keep_level(void **state) {
    (void)state;
    return tq_isa_active(&before) != TQ_OK;
}

static int restore_level(void **state) {
    (void)state;
    return tq_isa_set(before) != TQ_OK;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(long_caches), cmocka_unit_test(drawn)};
    return cmocka_run_group_tests(tests, keep_level, restore_level);
}
