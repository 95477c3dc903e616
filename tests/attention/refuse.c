/* SPDX-License-Identifier: MIT
 * One call of tq_attention() with all its arguments, to be spoiled one by one. */
#include "refuse.h"

#include <string.h>

#include "support/cm.h"

void stage_open(stage *st, const scene_plan *plan, rng *r) {
    scene_open(&st->scene, plan, r);
    st->whole = whole_new(&st->scene);
    st->partial = partial_new(&st->scene);
    st->workspace = workspace_new(&st->scene.params, st->scene.segments, st->scene.n_segments, 0xFF);
}

void stage_close(stage *st) {
    edge_free(&st->workspace);
    partial_free(&st->partial);
    whole_free(&st->whole);
    scene_close(&st->scene);
}

void stage_save(stage *st) {
    guard *const all[] = {&st->whole.out, &st->whole.lse, &st->partial.acc, &st->partial.max,
                          &st->partial.sum};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        guard_save(all[i]);
}

void attempt_make(attempt *a, const stage *st) {
    *a = (attempt){.params = st->scene.params,
                   .n_segments = st->scene.n_segments,
                   .p = &a->params,
                   .s = a->segments,
                   .q = st->scene.q,
                   .n_q = SIZE_MAX, /* shapes are spoiled too, and are named first */
                   .n_out = SIZE_MAX,
                   .n_lse = SIZE_MAX,
                   .out = st->whole.out.data,
                   .lse = st->whole.lse.data,
                   .acc = st->partial.acc.data,
                   .max = st->partial.max.data,
                   .sum = st->partial.sum.data,
                   .workspace = st->workspace.data,
                   .workspace_bytes = st->workspace.size,
                   .spoiled = "call"};
    memcpy(a->segments, st->scene.segments, sizeof a->segments);
}

static tq_status make(const attempt *a, int by) {
    if (by == BY_WHOLE)
        return tq_attention(a->p, a->s, a->n_segments, a->q, a->n_q, a->out, a->n_out, a->lse, a->n_lse,
                            a->workspace, a->workspace_bytes);
    return tq_attention_partial(a->p, a->s, a->n_segments, a->q, a->n_q, a->acc, a->n_out, a->max, a->sum,
                                a->n_lse, a->workspace, a->workspace_bytes);
}

static void assert_record(const attempt *a, tq_status got, tq_status want, const char *field) {
    const tq_error *e = tq_last_error();
    if (got != want || e->status != want || (field != NULL && strcmp(e->field, field) != 0))
        fail_msg("%s: %s of %s wanted; got %s, record: %s of \"%s\": %s", a->spoiled,
                 tq_status_name(want), field == NULL ? "any field" : field, tq_status_name(got),
                 tq_status_name(e->status), e->field, e->message);
    if (e->field[0] == '\0' || e->message[0] == '\0' || strchr(e->message, '\n') != NULL)
        fail_msg("%s: a field and one line are wanted; record: \"%s\": \"%s\"", tq_status_name(want),
                 e->field, e->message);
}

void assert_refused(const stage *st, const attempt *a, int by, tq_status want, const char *field) {
    for (int call = BY_WHOLE; call <= BY_PARTIAL; call++)
        if ((by & call) != 0) assert_record(a, make(a, call), want, field);
    if ((by & BY_SIZE) != 0) {
        size_t bytes = 12345;
        assert_record(a, tq_attention_workspace(a->p, a->s, a->n_segments, &bytes), want, field);
        assert_int_equal(bytes, 12345);
    }
    guard_assert_untouched(&st->whole.out);
    guard_assert_untouched(&st->whole.lse);
    guard_assert_untouched(&st->partial.acc);
    guard_assert_untouched(&st->partial.max);
    guard_assert_untouched(&st->partial.sum);
}

void assert_accepted(const attempt *a) {
    size_t bytes = 0;
    const tq_status status[] = {make(a, BY_WHOLE), make(a, BY_PARTIAL),
                                tq_attention_workspace(a->p, a->s, a->n_segments, &bytes)};
    for (size_t i = 0; i < sizeof status / sizeof status[0]; i++)
        if (status[i] != TQ_OK)
            fail_msg("call %zu: %s: %s", i, tq_status_name(status[i]), tq_last_error()->message);
    assert_true(bytes <= a->workspace_bytes);
}
