/* SPDX-License-Identifier: MIT
 * Nothing is read but rows in use: each lies in a memory page of its own, and all others are unreadable.
 */
#include "call.h"
#include "draw.h"
#include "model.h"
#include "support/cm.h"

static void check(const scene_plan *p, rng *r, worst *w) {
    scene s;
    scene_open(&s, p, r);
    whole got = whole_new(&s);
    attend(&s, &got);
    assert_attends(&s, got.out.data, got.lse.data, w);
    whole_free(&got);
    scene_close(&s);
}

/* Rows at both ends of their pages, in every store; the ring starts anywhere, with slots to spare. */
static void rows_alone(void **state) {
    (void)state;
    static const uint32_t dims[] = {256, 32, 80, 1024};
    rng r = {1};
    worst w = {0};
    for (size_t i = 0; i < 4 * STORES * 2; i++) {
        const uint32_t dim = dims[i / (2 * STORES)];
        const unsigned store = (unsigned)(i / 2 % STORES);
        if (dim != 256 && store >= V2_STORES && store < ENCODED_STORES) continue;
        const size_t length = 1 + rng_below(&r, 40);
        scene_plan p = plain_plan(2, 2, dim, 1 + rng_below(&r, 3), length);
        side_plan *sides[] = {&p.segment[0].k, &p.segment[0].v};
        for (size_t j = 0; j < 2; j++) {
            set_store(sides[j], store);
            sides[j]->layout = i % 2 == 0 ? ALONE_LAST : ALONE_FIRST;
            sides[j]->spare = rng_below(&r, 10);
            sides[j]->ring_start = rng_below(&r, 50);
        }
        check(&p, &r, &w);
    }
    worst_print(NULL, NULL);
    worst_print("rows alone", &w);
}

/* Pages of one row in random order in a pool twice as large: strangers lie on all sides. */
static void pages_alone(void **state) {
    (void)state;
    rng r = {2};
    worst w = {0};
    for (unsigned i = 0; i < 2 * STORES; i++) {
        scene_plan p = plain_plan(4, 2, 256, 1, 1 + rng_below(&r, 30));
        side_plan *sides[] = {&p.segment[0].k, &p.segment[0].v};
        for (size_t j = 0; j < 2; j++) {
            set_store(sides[j], i % STORES);
            sides[j]->layout = i < STORES ? ALONE_LAST : ALONE_FIRST;
            sides[j]->page_rows = j + 1 + rng_below(&r, 2);
            sides[j]->spare = rng_below(&r, 20);
            sides[j]->ring_start = rng_below(&r, 50);
        }
        check(&p, &r, &w);
    }
    worst_print("pages alone", &w);
}

enum { D = 128, T = 64 };

/* Rows of codes, each at the start of a memory page; those from `end` on cannot be read. */
static edge rows_open(const tq_codec *codec, const uint8_t *norms, size_t end, tq_view *view) {
    const size_t page = edge_page_size();
    bool used[T] = {false};
    edge rows = edge_new(T * page);
    assert_int_equal(tq_view_codes(view, codec, 1, T, rows.data, rows.size, norms, 2 * T), TQ_OK);
    view->row_stride = page;
    view->head_stride = 0;
    for (size_t i = 0; i < end; i++)
        used[i] = true;
    edge_close_pages(&rows, used);
    return rows;
}

static void attend_up_to(tq_format format, size_t end, tq_arithmetic arithmetic) {
    static float q[D] = {1}, out[D];
    static uint8_t norms[2 * T];
    const tq_codec codec = {.format = format, .head_dim = D};
    const tq_attention_params params = {.size = sizeof params,
                                        .n_heads = 1,
                                        .n_kv_heads = 1,
                                        .head_dim = D,
                                        .n_queries = 1,
                                        .query_end = end,
                                        .scale = 1.0f,
                                        .arithmetic = arithmetic};
    tq_segment segment = {.length = T};
    for (size_t i = 0; i < T; i++)
        norms[2 * i + 1] = 0x3c; /* 1 */
    edge k = rows_open(&codec, norms, end, &segment.k), v = rows_open(&codec, norms, end, &segment.v);
    edge e = workspace_new(&params, &segment, 1, 0);
    assert_int_equal(tq_attention(&params, &segment, 1, q, D, out, D, NULL, 0, e.data, e.size), TQ_OK);
    edge_free(&e);
    edge_free(&k);
    edge_free(&v);
}

/* Positions behind the last query's are not read either, though they are the segment's: others may be
 * writing them. Kernels of integers take four positions at once: every end within a four is tried. */
static void unseen_rows(void **state) {
    static const tq_format formats[] = {TQ_TQ2, TQ_TQ3, TQ_TQ4, TQ_TQ5, TQ_TQ6, TQ_TQ7, TQ_TQ8};
    (void)state;
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (size_t end = 32; end <= 36; end++) {
            attend_up_to(formats[f], end, TQ_ARITHMETIC_FLOAT);
            attend_up_to(formats[f], end, TQ_ARITHMETIC_INTEGER);
        }
}

/* Queries that a tile may round up, on arrays that end at unreadable pages as all of a scene's do. */
static void any_count_of_queries(void **state) {
    (void)state;
    rng r = {3};
    worst w = {0};
    for (size_t queries = 1; queries <= 40; queries++) {
        scene_plan p = plain_plan(2, 1, 48, queries, 19);
        draw_segments(&p, 19, &r);
        for (size_t t = 0; t < p.n_segments; t++)
            p.segment[t].k.layout = p.segment[t].v.layout = ALONE_LAST;
        check(&p, &r, &w);
    }
    worst_print("1 to 40 queries", &w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_alone),
        cmocka_unit_test(pages_alone),
        cmocka_unit_test(unseen_rows),
        cmocka_unit_test(any_count_of_queries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
