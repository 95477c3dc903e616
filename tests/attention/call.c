/* SPDX-License-Identifier: MIT
 * Calls of tq_attention() and its parts. */
#include "call.h"

#include <string.h>

#include "support/cm.h"

whole whole_new(const scene *s) {
    const size_t rows = scene_rows(s);
    return (whole){guard_new(rows * scene_v_dim(s) * sizeof(float)), guard_new(rows * sizeof(float))};
}

void whole_free(whole *w) {
    guard_free(&w->out);
    guard_free(&w->lse);
}

partial partial_new(const scene *s) {
    const size_t rows = scene_rows(s);
    return (partial){guard_new(rows * scene_v_dim(s) * sizeof(float)), guard_new(rows * sizeof(float)),
                     guard_new(rows * sizeof(float))};
}

void partial_free(partial *p) {
    guard_free(&p->acc);
    guard_free(&p->max);
    guard_free(&p->sum);
}

static void assert_succeeds(tq_status status) {
    if (status == TQ_OK) return;
    const tq_error *e = tq_last_error();
    fail_msg("%s, record: %s of \"%s\": %s", tq_status_name(status), tq_status_name(e->status), e->field,
             e->message);
}

edge workspace_new(const tq_attention_params *params, const tq_segment *segments, size_t n_segments,
                   int fill) {
    size_t bytes = 0;
    assert_succeeds(tq_attention_workspace(params, segments, n_segments, &bytes));
    edge e = edge_new((bytes + 63) / 64 * 64);
    memset(e.data, fill, e.size);
    e.size = bytes;
    return e;
}

void attend(const scene *s, whole *w) {
    edge e = workspace_new(&s->params, s->segments, s->n_segments, 0xFF);
    assert_succeeds(tq_attention(
        &s->params, s->segments, s->n_segments, s->q, scene_rows(s) * s->params.head_dim, w->out.data,
        scene_rows(s) * scene_v_dim(s), w->lse.data, scene_rows(s), e.data, e.size));
    guard_assert_only(&w->out, 0, w->out.size);
    guard_assert_only(&w->lse, 0, w->lse.size);
    edge_free(&e);
}

void attend_partly(const scene *s, const tq_segment *segments, size_t n_segments, partial *p) {
    edge e = workspace_new(&s->params, segments, n_segments, 0xFF);
    assert_succeeds(tq_attention_partial(
        &s->params, segments, n_segments, s->q, scene_rows(s) * s->params.head_dim, p->acc.data,
        scene_rows(s) * scene_v_dim(s), p->max.data, p->sum.data, scene_rows(s), e.data, e.size));
    guard_assert_only(&p->acc, 0, p->acc.size);
    guard_assert_only(&p->max, 0, p->max.size);
    guard_assert_only(&p->sum, 0, p->sum.size);
    edge_free(&e);
}
