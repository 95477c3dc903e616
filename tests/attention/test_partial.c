/* SPDX-License-Identifier: MIT
 * Partial results and their merge: any cut of the positions gives what the whole gives. */
#include <math.h>
#include <string.h>

#include "call.h"
#include "draw.h"
#include "model.h"
#include "support/cm.h"

enum { MOST_PARTS = 5, MOST_PIECES = MOST_SEGMENTS * 3 };

typedef struct part {
    tq_segment pieces[MOST_PIECES];
    size_t n_pieces;
} part;

static void advance(tq_view *v, size_t positions) {
    v->ring_start = (v->ring_start + positions) % v->capacity;
}

/* Cuts each segment in up to three and deals the pieces out; parts may stay empty. */
static void deal(const scene *s, part *parts, size_t n_parts, rng *r) {
    for (size_t t = 0; t < s->n_segments; t++) {
        tq_segment rest = s->segments[t];
        for (int cut = 0; cut < 3; cut++) {
            tq_segment piece = rest;
            piece.length = cut == 2 ? rest.length : rng_below(r, (uint32_t)rest.length + 1);
            part *to = &parts[rng_below(r, (uint32_t)n_parts)];
            to->pieces[to->n_pieces++] = piece;
            advance(&rest.k, piece.length);
            advance(&rest.v, piece.length);
            rest.first_position += piece.length;
            rest.length -= piece.length;
        }
    }
}

typedef struct merged {
    partial partials[MOST_PARTS];
    const float *acc[MOST_PARTS], *max[MOST_PARTS], *sum[MOST_PARTS];
    size_t n;
} merged;

static void run_parts(const scene *s, merged *m, size_t n_parts, rng *r) {
    part parts[MOST_PARTS] = {0};
    m->n = n_parts;
    deal(s, parts, n_parts, r);
    for (size_t i = 0; i < n_parts; i++) {
        m->partials[i] = partial_new(s);
        attend_partly(s, parts[i].pieces, parts[i].n_pieces, &m->partials[i]);
        m->acc[i] = m->partials[i].acc.data;
        m->max[i] = m->partials[i].max.data;
        m->sum[i] = m->partials[i].sum.data;
        guard_save(&m->partials[i].acc);
        guard_save(&m->partials[i].max);
        guard_save(&m->partials[i].sum);
    }
}

static tq_status merge(const scene *s, const merged *m, float *out, float *lse) {
    const tq_attention_params *p = &s->params;
    return tq_attention_merge(m->n, p->n_heads, p->n_queries,
                              p->v_head_dim == 0 ? p->head_dim : p->v_head_dim, m->acc, m->max, m->sum,
                              p->sinks, out, lse);
}

static void free_parts(merged *m) {
    for (size_t i = 0; i < m->n; i++)
        partial_free(&m->partials[i]);
}

/* Into buffers of its own, without lse, and over acc[0]: the same bits each time. */
static void check_merge(const scene *s, merged *m, worst *w) {
    whole got = whole_new(s);
    assert_int_equal(merge(s, m, got.out.data, got.lse.data), TQ_OK);
    guard_assert_only(&got.out, 0, got.out.size);
    guard_assert_only(&got.lse, 0, got.lse.size);
    for (size_t i = 0; i < m->n; i++) {
        guard_assert_untouched(&m->partials[i].acc);
        guard_assert_untouched(&m->partials[i].max);
        guard_assert_untouched(&m->partials[i].sum);
    }
    assert_attends(s, got.out.data, got.lse.data, w);
    guard *first = &m->partials[0].acc;
    assert_int_equal(merge(s, m, first->data, NULL), TQ_OK);
    guard_assert_only(first, 0, first->size);
    assert_memory_equal(first->data, got.out.data, got.out.size);
    whole_free(&got);
}

static void random_cuts(void **state) {
    (void)state;
    rng r = {1};
    worst partials = {0}, wholes = {0};
    for (int i = 0; i < 120; i++) {
        scene_plan p;
        scene s;
        merged m;
        size_t length = 0;
        draw_plan(&p, 5e5, &r);
        for (size_t t = 0; t < p.n_segments; t++)
            length += p.segment[t].length;
        scene_open(&s, &p, &r);
        draw_masks(&s.params, length, &r);
        run_parts(&s, &m, 1 + rng_below(&r, MOST_PARTS), &r);
        if (m.n == 1) assert_partial(&s, m.acc[0], m.max[0], m.sum[0], &partials);
        check_merge(&s, &m, &wholes);
        free_parts(&m);
        scene_close(&s);
    }
    assert_true(partials.cases > 0 && wholes.unseen > 0);
    worst_print(NULL, NULL);
    worst_print("partial results of all", &partials);
    worst_print("merges of 1 to 5", &wholes);
}

/* A cut that is far below the rest weighs nothing, and must not spoil it. */
static void far_apart(void **state) {
    (void)state;
    rng r = {2};
    scene_plan p = plain_plan(2, 1, 64, 2, 30);
    scene s;
    merged m;
    worst w = {0};
    scene_open(&s, &p, &r);
    /* Keys of the first half aligned with nothing, of the second with the queries of both heads. */
    float *k = (float *)(void *)s.k[0].data.data;
    for (size_t i = 15 * 64; i < 30 * 64; i++) {
        k[i] = 20 * s.q[i % 64];
        s.k[0].values[i] = (double)k[i];
    }
    for (int swap = 0; swap < 2; swap++) {
        tq_segment half[2] = {s.segments[0], s.segments[0]};
        m.n = 2;
        half[0].length = half[1].length = 15;
        advance(&half[1].k, 15);
        advance(&half[1].v, 15);
        half[1].first_position = 15;
        for (size_t i = 0; i < 2; i++) {
            m.partials[i] = partial_new(&s);
            attend_partly(&s, &half[swap ? 1 - i : i], 1, &m.partials[i]);
            m.acc[i] = m.partials[i].acc.data;
            m.max[i] = m.partials[i].max.data;
            m.sum[i] = m.partials[i].sum.data;
            guard_save(&m.partials[i].acc);
            guard_save(&m.partials[i].max);
            guard_save(&m.partials[i].sum);
        }
        check_merge(&s, &m, &w);
        free_parts(&m);
    }
    scene_close(&s);
}

static void merges_of_nothing(void **state) {
    (void)state;
    rng r = {3};
    for (unsigned i = 0; i < 2 * MOST_PARTS; i++) {
        scene_plan p = plain_plan(4, 2, 64, 3, 0);
        scene s;
        merged m;
        worst w = {0};
        p.sinks = i % 2 == 1;
        scene_open(&s, &p, &r);
        run_parts(&s, &m, 1 + i / 2, &r);
        check_merge(&s, &m, &w);
        assert_int_equal(w.unseen, 12);
        free_parts(&m);
        scene_close(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_cuts),
        cmocka_unit_test(far_apart),
        cmocka_unit_test(merges_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
