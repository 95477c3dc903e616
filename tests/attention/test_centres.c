/* SPDX-License-Identifier: MIT
 * A centre for every few positions: views and tables that lack some, and pools whose sequences have
 * different ones. What the centres do to the results test_random.c and test_batch.c say. */
#include <string.h>

#include "draw.h"
#include "half.h"
#include "refuse.h"
#include "support/cm.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

enum { LENGTH = 30, FIRST = 100, STRETCH = 7 }; /* positions 100 to 129 lie in 14 to 18 */

static void open_stage(stage *st, bool table) {
    rng r = {3};
    scene_plan p = plain_plan(4, 2, 64, 3, LENGTH);
    set_store(&p.segment[0].k, 2);
    set_store(&p.segment[0].v, 4);
    p.segment[0].first_position = FIRST;
    p.centre = true;
    p.stretch = STRETCH;
    p.centre_table = table;
    stage_open(st, &p, &r);
}

static void too_few(void **state) {
    (void)state;
    stage st;
    attempt a;
    open_stage(&st, false);
    for (size_t n = 0; n < 5; n++) {
        attempt_make(&a, &st);
        a.segments[0].k.n_centres = n;
        assert_refused(&st, &a, BY_ALL, n == 0 ? TQ_E_SIZE : TQ_E_POSITION, "k");
    }
    attempt_make(&a, &st);
    a.segments[0].k.n_centres = SIZE_MAX / 64;
    assert_refused(&st, &a, BY_ALL, TQ_E_OVERFLOW, "k");
    attempt_make(&a, &st);
    a.segments[0].k.centre_stretch = 1;
    assert_refused(&st, &a, BY_ALL, TQ_E_POSITION, "k");
    attempt_make(&a, &st);
    a.segments[0].first_position = UINT64_MAX - LENGTH + 1;
    assert_refused(&st, &a, BY_ALL, TQ_E_POSITION, "segments");
    attempt_make(&a, &st);
    a.segments[0].k.centre_stretch = 0; /* forgotten: which of them? */
    assert_refused(&st, &a, BY_ALL, TQ_E_POSITION, "k");
    attempt_make(&a, &st);
    assert_accepted(&a);
    a.segments[0].k.n_centres = 5; /* a ring of as many as there are stretches */
    assert_accepted(&a);
    a.segments[0].k.centre_stretch = 0;
    a.segments[0].k.n_centres = 1;
    assert_accepted(&a);
    stage_close(&st);
}

static void tables(void **state) {
    (void)state;
    stage st;
    attempt a;
    int32_t table[32];
    open_stage(&st, true);
    const tq_view *good = &st.scene.segments[0].k;
    assert_true(good->n_centre_table >= 5 && good->n_centre_table <= COUNT(table));
    for (uint64_t stretch = FIRST / STRETCH; stretch <= (FIRST + LENGTH - 1) / STRETCH; stretch++) {
        const int32_t bad[] = {-1, INT32_MIN, INT32_MAX, (int32_t)good->n_centres};
        for (size_t i = 0; i < COUNT(bad); i++) {
            attempt_make(&a, &st);
            memcpy(table, good->centre_table, good->n_centre_table * sizeof *table);
            table[stretch % good->n_centre_table] = bad[i];
            a.segments[0].k.centre_table = table;
            assert_refused(&st, &a, BY_ALL, TQ_E_POSITION, "k");
            assert_int_equal(tq_last_error()->index, stretch % good->n_centre_table);
        }
    }
    for (size_t n = 0; n < 5; n++) {
        attempt_make(&a, &st);
        a.segments[0].k.n_centre_table = n;
        assert_refused(&st, &a, BY_ALL, n == 0 ? TQ_E_SIZE : TQ_E_POSITION, "k");
    }
    attempt_make(&a, &st);
    a.segments[0].k.n_centres = 0;
    assert_refused(&st, &a, BY_ALL, TQ_E_SIZE, "k");
    attempt_make(&a, &st);
    a.segments[0].k.centre = NULL; /* then the table is not looked at */
    a.segments[0].k.centre_table = (const int32_t *)(const void *)&st;
    assert_accepted(&a);
    stage_close(&st);
}

/* A pool of pages and of centres, as an engine has them: the same bits as each sequence by itself. */
enum {
    H = 4,
    G = 2,
    D = 64,
    ROWS = 8,
    PAGES = 12,
    SEQUENCES = 3,
    CENTRES = 9,
    TABLE = 6, /* pages of a sequence */
    SLOTS = PAGES * ROWS,
    BYTES = G * SLOTS * D / 2
};

typedef struct pool {
    uint8_t k[BYTES], v[BYTES];
    uint16_t k_norms[G * SLOTS], v_norms[G * SLOTS], centres[CENTRES * G * D];
    int32_t tables[SEQUENCES][TABLE], centre_tables[SEQUENCES][TABLE * ROWS + 1];
    tq_segment shared;
} pool;

static void fill(pool *p, size_t stretch, rng *r) {
    const tq_codec codec = {.format = TQ_TQ4, .head_dim = D};
    rng_bytes(r, p->k, BYTES);
    rng_bytes(r, p->v, BYTES);
    for (size_t i = 0; i < G * SLOTS; i++) {
        p->k_norms[i] = half_from(1 + rng_uniform(r));
        p->v_norms[i] = half_from(1 + rng_uniform(r));
    }
    for (size_t i = 0; i < CENTRES * G * D; i++)
        p->centres[i] = half_from(rng_gauss(r));
    for (size_t i = 0; i < SEQUENCES; i++) {
        for (size_t j = 0; j < TABLE; j++)
            p->tables[i][j] = (int32_t)rng_below(r, PAGES);
        for (size_t j = 0; j <= TABLE * ROWS; j++)
            p->centre_tables[i][j] = (int32_t)rng_below(r, CENTRES);
    }
    tq_segment *s = &p->shared;
    memset(s, 0, sizeof *s);
    assert_int_equal(tq_view_codes(&s->k, &codec, G, SLOTS, p->k, BYTES, p->k_norms, sizeof p->k_norms),
                     TQ_OK);
    assert_int_equal(tq_view_codes(&s->v, &codec, G, SLOTS, p->v, BYTES, p->v_norms, sizeof p->v_norms),
                     TQ_OK);
    assert_int_equal(tq_view_paged(&s->k, NULL, 0, ROWS), TQ_OK);
    assert_int_equal(tq_view_paged(&s->v, NULL, 0, ROWS), TQ_OK);
    s->k.centre = p->centres;
    s->k.n_centres = CENTRES;
    s->k.centre_stretch = stretch;
}

static void alone(const pool *p, size_t i, size_t length, size_t n, const float *q, float *out) {
    const tq_attention_params params = {.size = sizeof params,
                                        .n_heads = H,
                                        .n_kv_heads = G,
                                        .head_dim = D,
                                        .n_queries = n,
                                        .scale = 0.1f};
    tq_segment s = p->shared;
    size_t bytes;
    s.length = length;
    s.k.pages = s.v.pages = p->tables[i];
    s.k.n_pages = s.v.n_pages = TABLE;
    s.k.capacity = s.v.capacity = TABLE * ROWS;
    s.k.centre_table = p->centre_tables[i];
    s.k.n_centre_table = s.k.centre_stretch == 0 ? 1 : TABLE * ROWS + 1;
    assert_int_equal(tq_attention_workspace(&params, &s, 1, &bytes), TQ_OK);
    edge work = edge_new((bytes + 63) / 64 * 64);
    assert_int_equal(
        tq_attention(&params, &s, 1, q, n * H * D, out, n * H * D, NULL, 0, work.data, bytes), TQ_OK);
    edge_free(&work);
}

static void run_refused(const tq_attention_kind *kind, const tq_attention_batch *args, const edge *work,
                        size_t bytes, tq_status want, const char *field) {
    assert_int_equal(tq_attention_run(kind, args, work->data, bytes), want);
    assert_string_equal(tq_last_error()->field, field);
}

/* One query of each sequence; [N][H][D] is [H][1][D] for one. */
static void as_each_alone(size_t stretch) {
    static const int32_t lengths[SEQUENCES] = {48, 5, 23};
    static pool p;
    static float q[SEQUENCES * H * D], out[SEQUENCES * H * D], want[H * D];
    rng r = {stretch + 1};
    tq_attention_kind kind;
    size_t bytes;
    fill(&p, stretch, &r);
    int32_t one_each[SEQUENCES]; /* without stretches a sequence has one entry */
    for (size_t i = 0; i < SEQUENCES; i++)
        one_each[i] = p.centre_tables[i][0];
    int32_t *const rows = stretch == 0 ? one_each : p.centre_tables[0];
    const size_t stride = stretch == 0 ? 1 : TABLE * ROWS + 1;
    int32_t *const third = rows + 2 * stride + (stretch == 0 ? 0 : 22 / stretch);
    rng_gauss_fill(&r, q, SEQUENCES * H * D);
    const tq_attention_config config = {.size = sizeof config,
                                        .n_heads = H,
                                        .n_kv_heads = G,
                                        .head_dim = D,
                                        .k_format = TQ_TQ4,
                                        .v_format = TQ_TQ4,
                                        .scale = 0.1f,
                                        .max_sequences = SEQUENCES,
                                        .max_positions = TABLE * ROWS};
    assert_int_equal(tq_attention_plan(&config, &kind, &bytes), TQ_OK);
    edge work = edge_new((bytes + 63) / 64 * 64);
    tq_attention_batch args = {.size = sizeof args,
                               .n_sequences = SEQUENCES,
                               .pool = &p.shared,
                               .block_tables = p.tables[0],
                               .table_stride = TABLE,
                               .lengths = lengths,
                               .centre_tables = rows,
                               .centre_table_stride = stride,
                               .q = q,
                               .n_q = SEQUENCES * H * D,
                               .out = out,
                               .n_out = SEQUENCES * H * D};
    assert_int_equal(tq_attention_run(&kind, &args, work.data, bytes), TQ_OK);
    for (size_t i = 0; i < SEQUENCES; i++) {
        alone(&p, i, (size_t)lengths[i], 1, q + i * H * D, want);
        assert_memory_equal(out + i * H * D, want, sizeof want);
    }
    const size_t needed = stretch == 0 ? 1 : (48 - 1) / stretch + 1;
    args.centre_table_stride = needed - 1;
    run_refused(&kind, &args, &work, bytes, TQ_E_POSITION,
                stretch == 0 ? "centre_table_stride" : "lengths");
    args.centre_table_stride = stride;
    *third = CENTRES;
    run_refused(&kind, &args, &work, bytes, TQ_E_POSITION, "k");
    static const int32_t cu[] = {0, 1, 2, 2};
    args.cu_seqlens = cu; /* of one without queries nothing is looked at */
    assert_int_equal(tq_attention_run(&kind, &args, work.data, bytes), TQ_OK);
    args.cu_seqlens = NULL;
    *third = 0;
    args.out = (float *)(void *)(rows + stride);
    run_refused(&kind, &args, &work, bytes, TQ_E_OVERLAP, "out");
    args.out = (float *)(void *)p.centres;
    run_refused(&kind, &args, &work, bytes, TQ_E_OVERLAP, "out");
    args.out = out;
    args.centre_tables = NULL;
    if (stretch != 0) run_refused(&kind, &args, &work, bytes, TQ_E_NULL, "centre_tables");
    if (stretch == 0)
        run_refused(&kind, &args, &work, bytes, TQ_E_POSITION, "k"); /* of many, none is for all */
    args.centre_tables = rows;
    p.shared.k.centre = NULL;
    run_refused(&kind, &args, &work, bytes, TQ_E_NULL, "k.centre");
    edge_free(&work);
}

static void pools(void **state) {
    (void)state;
    static const size_t stretches[] = {0, 1, 3, 7, 8, 64};
    for (size_t i = 0; i < COUNT(stretches); i++)
        as_each_alone(stretches[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(too_few),
        cmocka_unit_test(tables),
        cmocka_unit_test(pools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
