/* SPDX-License-Identifier: MIT
 * An output that shares a byte with an input, the workspace or another output is refused. */
#include <stdio.h>
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
    p.sinks = p.centre = p.centre_table = true;
    p.stretch = 7;
    stage_open(st, &p, &r);
}

/* Arguments that a call reads: queries, sinks, centres and their table, and of four views codes, norms
 * and pages. */
enum { INPUTS = 4 + 4 * 3 };

/* The size of input `which`, 0 if there is none. Unless `to` is NULL the input is moved there. */
static size_t move_input(attempt *a, unsigned which, void *to) {
    const tq_attention_params *p = &a->params;
    tq_view *const views[] = {&a->segments[0].k, &a->segments[0].v, &a->segments[1].k, &a->segments[1].v};
    const void *from[INPUTS] = {a->q, p->sinks, views[0]->centre, views[0]->centre_table};
    size_t size[INPUTS] = {(size_t)p->n_heads * p->n_queries * p->head_dim * sizeof(float),
                           p->n_heads * sizeof(float),
                           views[0]->n_centres * p->n_kv_heads * p->head_dim * sizeof(uint16_t),
                           views[0]->n_centre_table * sizeof(int32_t)};
    for (size_t i = 0; i < COUNT(views); i++) {
        from[4 + i] = views[i]->data;
        size[4 + i] = views[i]->data_bytes;
        from[8 + i] = views[i]->norms;
        size[8 + i] = views[i]->n_norms;
        from[12 + i] = views[i]->pages;
        size[12 + i] = views[i]->n_pages * sizeof(int32_t);
    }
    if (to == NULL || size[which] == 0) return size[which];
    memcpy(to, from[which], size[which]);
    if (which == 0) a->q = to;
    if (which == 1) a->params.sinks = to;
    if (which == 2) views[0]->centre = to;
    if (which == 3) views[0]->centre_table = to;
    if (which >= 4 && which < 8) views[which - 4]->data = to;
    if (which >= 8 && which < 12) views[which - 8]->norms = to;
    if (which >= 12) views[which - 12]->pages = to;
    return size[which];
}

typedef enum output { OUT, LSE, ACC, MAX, SUM, WORKSPACE, OUTPUTS } output;

static void move_output(attempt *a, output which, void *to) {
    if (which == OUT) a->out = to;
    if (which == LSE) a->lse = to;
    if (which == ACC) a->acc = to;
    if (which == MAX) a->max = to;
    if (which == SUM) a->sum = to;
    if (which == WORKSPACE) a->workspace = to;
}

static size_t output_size(const attempt *a, output which) {
    const size_t rows = (size_t)a->params.n_heads * a->params.n_queries;
    if (which == WORKSPACE) return a->workspace_bytes;
    return (which == OUT || which == ACC ? rows * a->params.head_dim : rows) * sizeof(float);
}

static int callers(output which) {
    return which == WORKSPACE ? BY_BOTH : which == OUT || which == LSE ? BY_WHOLE : BY_PARTIAL;
}

static const char *const output_names[OUTPUTS] = {"out", "lse", "acc", "max", "sum", "workspace"};
static const char *const input_names[INPUTS] = {
    "q",          "sinks",      "k[0].centre", "k[0].centre_table", "k[0].data",  "v[0].data",
    "k[1].data",  "v[1].data",  "k[0].norms",  "v[0].norms",        "k[1].norms", "v[1].norms",
    "k[0].pages", "v[0].pages", "k[1].pages",  "v[1].pages"};

/* An output on the first byte of an input, on its last, and around it, in memory that could hold both. */
static void refuse_overlap(const stage *st, unsigned input, output which) {
    attempt a;
    char spoiled[64];
    attempt_make(&a, st);
    const size_t in = move_input(&a, input, NULL), out = output_size(&a, which);
    if (in == 0) return;
    const size_t unit = which == WORKSPACE ? 64 : sizeof(float), margin = (out + 63) / 64 * 64;
    edge all = edge_new((2 * margin + in + 63) / 64 * 64);
    uint8_t *const at = all.data + margin;
    uint8_t *const places[] = {at, at + (in - 1) / unit * unit, at - (out - 1) / unit * unit};
    snprintf(spoiled, sizeof spoiled, "%s on %s", output_names[which], input_names[input]);
    for (size_t i = 0; i < COUNT(places); i++) {
        attempt_make(&a, st);
        a.spoiled = spoiled;
        move_input(&a, input, at);
        uint8_t *before = test_alloc(all.size);
        memcpy(before, all.data, all.size);
        move_output(&a, which, places[i]);
        assert_refused(st, &a, callers(which), TQ_E_OVERLAP, NULL);
        if (memcmp(at, before + margin, in) != 0) fail_msg("%s: the input has changed", spoiled);
        if (which != WORKSPACE) assert_memory_equal(before, all.data, all.size);
        free(before);
    }
    edge_free(&all);
}

static void overlaps_with_inputs(void **state) {
    (void)state;
    stage st;
    attempt a;
    open_stage(&st);
    for (unsigned input = 0; input < INPUTS; input++)
        for (int which = 0; which < OUTPUTS; which++)
            refuse_overlap(&st, input, (output)which);
    attempt_make(&a, &st);
    assert_accepted(&a);
    stage_close(&st);
}

/* A count whose bytes no address can hold must not make the norms look apart. */
static void absurd_counts(void **state) {
    (void)state;
    static const size_t counts[] = {(size_t)1 << 62, SIZE_MAX, SIZE_MAX / 4 + 1};
    stage st;
    attempt a;
    open_stage(&st);
    for (size_t i = 0; i < COUNT(counts); i++) {
        attempt_make(&a, &st);
        uint8_t *norms = st.scene.k[0].norms.data;
        a.segments[0].k.n_norms = counts[i];
        a.lse = (float *)(void *)(norms + 16);
        a.spoiled = "lse on norms of an absurd count";
        assert_refused(&st, &a, BY_WHOLE, TQ_E_OVERLAP, NULL);
    }
    stage_close(&st);
}

/* Outputs of a call on each other's last bytes and first. */
static void refuse_overlap_of_outputs(const stage *st, output one, output other) {
    attempt a;
    char spoiled[64];
    attempt_make(&a, st);
    const size_t size = output_size(&a, one), next = output_size(&a, other);
    const size_t margin = (size + 63) / 64 * 64;
    edge all = edge_new((2 * margin + next + 63) / 64 * 64);
    uint8_t *const at = all.data + margin;
    snprintf(spoiled, sizeof spoiled, "%s on %s", output_names[one], output_names[other]);
    a.spoiled = spoiled;
    move_output(&a, other, at); /* the workspace is never the first of two: here it is aligned */
    move_output(&a, one, at + next - sizeof(float));
    assert_refused(st, &a, callers(one) & callers(other), TQ_E_OVERLAP, NULL);
    move_output(&a, one, at - size + sizeof(float));
    assert_refused(st, &a, callers(one) & callers(other), TQ_E_OVERLAP, NULL);
    edge_free(&all);
}

static void overlaps_of_outputs(void **state) {
    (void)state;
    stage st;
    attempt a;
    open_stage(&st);
    for (int one = 0; one < OUTPUTS; one++)
        for (int other = one + 1; other < OUTPUTS; other++)
            if ((callers((output)one) & callers((output)other)) != 0)
                refuse_overlap_of_outputs(&st, (output)one, (output)other);
    attempt_make(&a, &st);
    assert_accepted(&a);
    stage_close(&st);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlaps_with_inputs),
        cmocka_unit_test(absurd_counts),
        cmocka_unit_test(overlaps_of_outputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
