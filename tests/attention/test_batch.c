/* SPDX-License-Identifier: MIT
 * Runs of many sequences: the bits of single calls, whatever their types, strides and threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "model.h"
#include "support/cm.h"
#include "support/pool.h"

static void check_mix(size_t length, bool open, rng *r) {
    batch b;
    run u;
    pool p = {.threads = 1 + rng_below(r, POOL_MOST_THREADS)};
    const tq_parallel parallel = {pool_run, &p};
    batch_draw(&b, length, r);
    if (open) b.config.out_type = TQ_F32;
    run_open(&u, &b, open, r);
    if (rng_below(r, 2) == 0) u.args.parallel = &parallel;
    run_make(&u);
    assert_as_single(&u, &b);
    run_close(&u);
    batch_close(&b);
}

static void mixes(void **state) {
    (void)state;
    rng r = {1};
    for (int i = 0; i < 60; i++)
        check_mix(i % 4 == 0 ? 1500 : 300, false, &r);
}

static void open_mixes(void **state) {
    (void)state;
    rng r = {2};
    for (int i = 0; i < 30; i++)
        check_mix(i % 4 == 0 ? 1500 : 300, true, &r);
}

/* Ranges of queries in place of their numbers, and sequences without any between the others. */
static void ranges(void **state) {
    (void)state;
    rng r = {3};
    for (int i = 0; i < 20; i++) {
        batch b;
        run u;
        tq_sequence sequences[2 * MOST_SEQUENCES];
        int32_t cu[2 * MOST_SEQUENCES + 1] = {0};
        batch_draw(&b, 100, &r);
        run_open(&u, &b, false, &r);
        for (size_t j = 0; j < b.n; j++) { /* an empty one before each */
            sequences[2 * j] = sequences[2 * j + 1] = b.sequences[j];
            sequences[2 * j].n_queries = 0;
            if (rng_below(&r, 2) == 0) sequences[2 * j + 1].n_queries = 0; /* the range says it */
            cu[2 * j + 1] = cu[2 * j];
            cu[2 * j + 2] = cu[2 * j] + (int32_t)b.sequences[j].n_queries;
        }
        u.args.sequences = sequences;
        u.args.n_sequences = 2 * b.n;
        u.args.cu_seqlens = cu;
        run_make(&u);
        assert_as_single(&u, &b);
        cu[2 * b.n] -= 1; /* against what the last sequence says */
        sequences[2 * b.n - 1].n_queries = b.sequences[b.n - 1].n_queries;
        assert_int_equal(tq_attention_run(&u.kind, &u.args, u.workspace.data, u.workspace_bytes),
                         TQ_E_SIZE);
        assert_string_equal(tq_last_error()->field, "cu_seqlens");
        run_close(&u);
        batch_close(&b);
    }
}

enum { H = 4, G = 2, D = 64, ROWS = 16, POOL_PAGES = 40, TABLE = 12, SEQUENCES = 3 };

static tq_attention_config small_config(void) {
    return (tq_attention_config){.size = sizeof(tq_attention_config),
                                 .n_heads = H,
                                 .n_kv_heads = G,
                                 .head_dim = D,
                                 .scale = 0.125f,
                                 .max_sequences = SEQUENCES,
                                 .max_queries = 8,
                                 .max_positions = TABLE * ROWS};
}

/* n queries and outputs side by side, in float32. */
static tq_attention_batch small_batch(const tq_sequence *sequences, size_t n_sequences, const float *q,
                                      float *out, size_t n) {
    return (tq_attention_batch){.size = sizeof(tq_attention_batch),
                                .n_sequences = n_sequences,
                                .sequences = sequences,
                                .q = q,
                                .n_q = n * H * D,
                                .out = out,
                                .n_out = n * H * D};
}

/* Block tables of one pool, as engines have them, beside the same as sequences. */
static void block_tables(void **state) {
    (void)state;
    enum { VALUES = POOL_PAGES * G * ROWS * D };
    static float k[VALUES], v[VALUES], q[8 * H * D], out[8 * H * D], again[8 * H * D];
    static const int32_t lengths[SEQUENCES] = {5, 190, 64}, cu[] = {0, 1, 6, 8};
    int32_t tables[SEQUENCES][TABLE + 1];
    rng r = {4};
    tq_attention_kind kind;
    size_t bytes;
    rng_gauss_fill(&r, k, VALUES);
    rng_gauss_fill(&r, v, VALUES);
    rng_gauss_fill(&r, q, 8 * H * D);
    for (size_t i = 0; i < SEQUENCES; i++)
        for (size_t j = 0; j <= TABLE; j++) /* entries that no position needs are not looked at */
            tables[i][j] = j * ROWS < (size_t)lengths[i] ? (int32_t)rng_below(&r, POOL_PAGES) : -1;
    tq_segment shared = {.length = 0}, each[SEQUENCES];
    assert_int_equal(tq_view_dense(&shared.k, TQ_F32, D, G, POOL_PAGES * ROWS, k, VALUES), TQ_OK);
    assert_int_equal(tq_view_dense(&shared.v, TQ_F32, D, G, POOL_PAGES * ROWS, v, VALUES), TQ_OK);
    assert_int_equal(tq_view_paged(&shared.k, NULL, 0, ROWS), TQ_OK);
    assert_int_equal(tq_view_paged(&shared.v, NULL, 0, ROWS), TQ_OK);
    tq_sequence sequences[SEQUENCES] = {{0}};
    for (size_t i = 0; i < SEQUENCES; i++) {
        each[i] = shared;
        each[i].k.pages = each[i].v.pages = tables[i];
        each[i].k.n_pages = each[i].v.n_pages = TABLE;
        each[i].k.capacity = each[i].v.capacity = (size_t)lengths[i];
        each[i].length = (size_t)lengths[i];
        sequences[i].segments = &each[i];
        sequences[i].n_segments = 1;
    }
    const tq_attention_config config = small_config();
    assert_int_equal(tq_attention_plan(&config, &kind, &bytes), TQ_OK);
    edge work = edge_new(bytes);
    tq_attention_batch args = small_batch(sequences, SEQUENCES, q, out, 8);
    args.cu_seqlens = cu;
    assert_int_equal(tq_attention_run(&kind, &args, work.data, bytes), TQ_OK);
    args.sequences = NULL;
    args.pool = &shared;
    args.block_tables = tables[0];
    args.table_stride = TABLE + 1;
    args.lengths = lengths;
    args.out = again;
    assert_int_equal(tq_attention_run(&kind, &args, work.data, bytes), TQ_OK);
    assert_memory_equal(out, again, sizeof out);
    args.cu_seqlens = NULL; /* one query each */
    args.n_q = args.n_out = SEQUENCES * H * D;
    assert_int_equal(tq_attention_run(&kind, &args, work.data, bytes), TQ_OK);
    assert_memory_equal(out, again, H * D * sizeof *out);
    static const int32_t bad_lengths[][SEQUENCES] = {{5, -1, 64}, {5, (TABLE + 1) * ROWS + 1, 64}};
    for (size_t i = 0; i < 2; i++) {
        args.lengths = bad_lengths[i];
        assert_int_equal(tq_attention_run(&kind, &args, work.data, bytes), TQ_E_POSITION);
        assert_string_equal(tq_last_error()->field, "lengths");
    }
    args.lengths = lengths;
    args.table_stride = SIZE_MAX / 2;
    assert_int_equal(tq_attention_run(&kind, &args, work.data, bytes), TQ_E_OVERFLOW);
    args.table_stride = TABLE + 1;
    static const int32_t padded[] = {0, 1, 1, 3}, stale[SEQUENCES] = {5, -7, 64};
    args.cu_seqlens = padded; /* the second has no queries: its length is not looked at */
    args.lengths = stale;
    assert_int_equal(tq_attention_run(&kind, &args, work.data, bytes), TQ_OK);
    args.cu_seqlens = NULL;
    args.lengths = lengths;
    tables[1][11] = POOL_PAGES;
    assert_int_equal(tq_attention_run(&kind, &args, work.data, bytes), TQ_E_POSITION);
    edge_free(&work);
}

/* Bits of every density for each query of a scene. */
static uint64_t *draw_tree(scene *s, tq_sequence *sequence, rng *r) {
    const size_t most = s->params.query_end < 200 ? (size_t)s->params.query_end : 200;
    s->n_tree = 1 + rng_below(r, (uint32_t)most);
    const size_t n = s->params.n_queries * ((s->n_tree + 63) / 64);
    uint64_t *bits = test_alloc(n * sizeof *bits);
    for (size_t j = 0; j < n; j++)
        bits[j] = rng_next(r) & (rng_below(r, 3) == 0 ? 0 : rng_next(r));
    s->tree = sequence->tree = bits;
    sequence->n_tree = s->n_tree;
    return bits;
}

/* Trees of drafted tokens, on positions that a chunk's border and a segment's end cut through. */
static void trees(void **state) {
    (void)state;
    rng r = {5};
    worst w = {0};
    worst_print(NULL, NULL);
    for (int i = 0; i < 30; i++) {
        batch b;
        run u;
        uint64_t *bits[MOST_SEQUENCES];
        batch_draw(&b, 400, &r);
        b.config.bidirectional = 0;
        b.config.out_type = TQ_F32;
        for (size_t j = 0; j < b.n; j++) {
            b.scenes[j].params.bidirectional = 0;
            b.scenes[j].params.slopes = NULL;
            bits[j] = draw_tree(&b.scenes[j], &b.sequences[j], &r);
        }
        run_open(&u, &b, false, &r);
        run_make(&u);
        for (size_t j = 0; j < b.n; j++) {
            whole rows = whole_new(&b.scenes[j]);
            run_rows(&u, &b, j, rows.out.data, rows.lse.data);
            assert_attends(&b.scenes[j], rows.out.data, rows.lse.data, &w);
            whole_free(&rows);
            free(bits[j]);
        }
        run_close(&u);
        batch_close(&b);
    }
    worst_print("trees", &w);
}

/* What a tree hides from a row between positions that the row sees may be anything: siblings of a draft
 * that went wrong do not suffer, and not a bit changes. */
static void hidden_drafts(void **state) {
    (void)state;
    enum { T = 5, N = 3 };
    static const uint64_t tree[N] = {0x15, 0x0B, 0x1F}; /* rows 1 and 2 see position 1 or 3 */
    static float k[T * D], v[T * D], q[N * H * D], clean[N * H * D], out[N * H * D], lse[N * H];
    rng r = {10};
    tq_attention_kind kind;
    size_t bytes;
    tq_attention_config config = small_config();
    config.n_kv_heads = 1;
    assert_int_equal(tq_attention_plan(&config, &kind, &bytes), TQ_OK);
    edge work = edge_new(bytes);
    rng_gauss_fill(&r, k, T * D);
    rng_gauss_fill(&r, v, T * D);
    rng_gauss_fill(&r, q, N * H * D);
    tq_segment s = {.length = T};
    assert_int_equal(tq_view_dense(&s.k, TQ_F32, D, 1, T, k, T * D), TQ_OK);
    assert_int_equal(tq_view_dense(&s.v, TQ_F32, D, 1, T, v, T * D), TQ_OK);
    const tq_sequence sequence = {
        .segments = &s, .n_segments = 1, .n_queries = N, .tree = tree, .n_tree = T};
    tq_attention_batch args = small_batch(&sequence, 1, q, clean, N);
    args.lse = lse;
    args.n_lse = N * H;
    assert_int_equal(tq_attention_run(&kind, &args, work.data, bytes), TQ_OK);
    args.out = out;
    for (int of_values = 0; of_values < 2; of_values++)
        for (size_t hidden = 1; hidden <= 3; hidden += 2) {
            float *bad = (of_values ? v : k) + hidden * D;
            const float kept = *bad;
            *bad = of_values ? NAN : INFINITY;
            assert_int_equal(tq_attention_run(&kind, &args, work.data, bytes), TQ_OK);
            *bad = kept;
            for (size_t row = 0; row < N; row++)
                if ((tree[row] >> hidden & 1) == 0)
                    assert_memory_equal(out + row * H * D, clean + row * H * D, H * D * sizeof *out);
                else
                    assert_true(isnan(out[row * H * D]) && isnan(lse[row * H]));
        }
    edge_free(&work);
}

/* One plan serves a sequence from its first token to its last, beside calls that plan anew. */
static void one_plan_for_ten_thousand_steps(void **state) {
    (void)state;
    enum { STEPS = 10000, WINDOW = 40 };
    static float k[WINDOW * G * D], v[WINDOW * G * D];
    float q[H * D], out[H * D], again[H * D];
    rng r = {6};
    tq_attention_kind kind;
    size_t bytes, single_bytes;
    tq_attention_config config = small_config();
    config.window = WINDOW;
    config.max_sequences = config.max_queries = config.max_segments = 1;
    assert_int_equal(tq_attention_plan(&config, &kind, &bytes), TQ_OK);
    edge work = edge_new(bytes);
    rng_gauss_fill(&r, k, WINDOW * G * D);
    rng_gauss_fill(&r, v, WINDOW * G * D);
    tq_segment s = {.k = {.store = TQ_STORE_F32,
                          .codec = {.head_dim = D},
                          .data = k,
                          .data_bytes = sizeof k,
                          .capacity = WINDOW}};
    s.v = s.k;
    s.v.data = v;
    for (uint64_t t = 1; t <= STEPS; t++) {
        rng_gauss_fill(&r, q, H * D);
        rng_gauss_fill(&r, k + t % WINDOW * D, D); /* what head 0 has new */
        s.length = (size_t)(t < WINDOW ? t : WINDOW);
        s.first_position = t - s.length;
        s.k.ring_start = s.v.ring_start = (size_t)(s.first_position % WINDOW);
        const tq_sequence sequence = {.segments = &s, .n_segments = 1, .n_queries = 1};
        const tq_attention_batch args = small_batch(&sequence, 1, q, out, 1);
        const tq_attention_params p = {.size = sizeof p,
                                       .n_heads = H,
                                       .n_kv_heads = G,
                                       .head_dim = D,
                                       .n_queries = 1,
                                       .scale = config.scale,
                                       .window = WINDOW};
        assert_int_equal(tq_attention_run(&kind, &args, work.data, bytes), TQ_OK);
        assert_int_equal(tq_attention_workspace(&p, &s, 1, &single_bytes), TQ_OK);
        assert_true(single_bytes <= bytes);
        assert_int_equal(tq_attention(&p, &s, 1, q, H * D, again, H * D, NULL, 0, work.data, bytes),
                         TQ_OK);
        assert_memory_equal(out, again, sizeof out);
    }
    edge_free(&work);
}

/* However a run's queries are spread over its sequences, what was planned for them is enough. */
static void plans_are_enough(void **state) {
    (void)state;
    rng r = {7};
    for (int i = 0; i < 300; i++) {
        static const uint32_t groups[] = {1, 3, 4, 8, 40};
        tq_attention_config c = small_config();
        c.n_kv_heads = 1 + rng_below(&r, 9);
        c.n_heads = c.n_kv_heads * groups[rng_below(&r, 5)];
        c.k_format = c.v_format = TQ_TQ4;
        c.max_sequences = 1 + rng_below(&r, 5);
        c.max_positions = 1 + draw_size(&r, 20000);
        size_t queries = 0, bytes, wanted = 0;
        tq_attention_kind kind;
        const tq_view codes = {.codec = {.format = TQ_TQ4, .head_dim = D},
                               .data = &r,
                               .data_bytes = SIZE_MAX / 4,
                               .norms = (const float *)(const void *)&r,
                               .n_norms = SIZE_MAX / 8,
                               .capacity = c.max_positions};
        const tq_segment s = {.k = codes, .v = codes, .length = c.max_positions};
        for (size_t j = 0; j < c.max_sequences; j++) {
            const tq_attention_params p = {.size = sizeof p,
                                           .n_heads = c.n_heads,
                                           .n_kv_heads = c.n_kv_heads,
                                           .head_dim = D,
                                           .n_queries = 1 + draw_size(&r, 200),
                                           .bidirectional = 1,
                                           .scale = 1};
            assert_int_equal(tq_attention_workspace(&p, &s, 1, &bytes), TQ_OK);
            queries += p.n_queries;
            wanted += bytes;
        }
        c.max_queries = queries;
        assert_int_equal(tq_attention_plan(&c, &kind, &bytes), TQ_OK);
        if (bytes < wanted - (c.max_sequences - 1) * 128)
            fail_msg("%zu bytes planned, %zu wanted by %zu sequences of %zu queries", bytes, wanted,
                     c.max_sequences, queries);
    }
}

static void refused(const tq_attention_kind *kind, const tq_attention_batch *args, void *workspace,
                    size_t bytes, tq_status want, const char *field) {
    const tq_status got = tq_attention_run(kind, args, workspace, bytes);
    if (got != want || strcmp(tq_last_error()->field, field) != 0)
        fail_msg("%s of %s wanted, got %s of %s: %s", tq_status_name(want), field, tq_status_name(got),
                 tq_last_error()->field, tq_last_error()->message);
}

static void plans_refused(void **state) {
    (void)state;
    struct {
        tq_attention_config config;
        tq_status want;
        const char *field;
    } rows[16];
    size_t n = 0, bytes = 7;
    tq_attention_kind kind;
#define ROW(change, status, name)                                                                        \
    do {                                                                                                 \
        tq_attention_config c = small_config();                                                          \
        change;                                                                                          \
        rows[n].config = c;                                                                              \
        rows[n].want = status;                                                                           \
        rows[n++].field = name;                                                                          \
    } while (0)
    ROW(c.size = 0, TQ_E_SIZE, "size");
    ROW(c.size--, TQ_E_SIZE, "size");
    ROW(c.size++, TQ_E_SIZE, "size");
    ROW(c.n_kv_heads = 3, TQ_E_HEADS, "n_heads");
    ROW(c.head_dim = 0, TQ_E_HEAD_DIM, "head_dim");
    ROW(c.v_head_dim = 40, TQ_E_HEAD_DIM, "v_head_dim");
    ROW(c.k_format = (tq_format)9, TQ_E_FORMAT, "format");
    ROW(c.v_format = TQ_TQ4_V1, TQ_E_HEAD_DIM, "head_dim");
    ROW(c.q_type = (tq_type)3, TQ_E_FORMAT, "q_type");
    ROW(c.out_type = (tq_type)-1, TQ_E_FORMAT, "out_type");
    ROW(c.scale = 0, TQ_E_SCALE, "scale");
    ROW(c.softcap = NAN, TQ_E_NOT_FINITE, "softcap");
    ROW(c.arithmetic = (tq_arithmetic)3, TQ_E_FORMAT, "arithmetic");
    ROW(c.domain = (tq_domain)2, TQ_E_DOMAIN, "domain");
    ROW(c.max_positions = 0, TQ_E_SIZE, "max_positions");
    ROW(c.max_queries = SIZE_MAX / 64, TQ_E_OVERFLOW, "max_queries");
    for (size_t i = 0; i < n; i++) {
        const tq_status got = tq_attention_plan(&rows[i].config, &kind, &bytes);
        if (got != rows[i].want || strcmp(tq_last_error()->field, rows[i].field) != 0)
            fail_msg("row %zu: %s of %s: %s", i, tq_status_name(got), tq_last_error()->field,
                     tq_last_error()->message);
        assert_int_equal(bytes, 7);
    }
    const tq_attention_config good = small_config();
    assert_int_equal(tq_attention_plan(NULL, &kind, &bytes), TQ_E_NULL);
    assert_int_equal(tq_attention_plan(&good, NULL, &bytes), TQ_E_NULL);
    assert_int_equal(tq_attention_plan(&good, &kind, NULL), TQ_E_NULL);
}

static void runs_refused(void **state) {
    (void)state;
    rng r = {8};
    batch b;
    run u;
    do { /* one that has codes, two sequences, and positions in all of them */
        batch_draw(&b, 200, &r);
        if (b.n >= 2 && b.scenes[0].segments[0].length > 1 && b.scenes[1].segments[0].length > 0) break;
        batch_close(&b);
    } while (true);
    run_open(&u, &b, false, &r);
    run_make(&u);
    guard_save(&u.out);
    guard_save(&u.lse);
    const tq_attention_batch good = u.args;
    void *work = u.workspace.data;
    const size_t bytes = u.workspace_bytes;
    tq_attention_kind none = {{0}};
    tq_sequence sequences[MOST_SEQUENCES];
    refused(NULL, &good, work, bytes, TQ_E_NULL, "kind");
    refused(&none, &good, work, bytes, TQ_E_NULL, "kind");
    refused(&u.kind, NULL, work, bytes, TQ_E_NULL, "batch");
    refused(&u.kind, &good, NULL, bytes, TQ_E_NULL, "workspace");
    refused(&u.kind, &good, (uint8_t *)work + 4, bytes, TQ_E_SIZE, "workspace");
    refused(&u.kind, &good, work, 64, TQ_E_SIZE, "workspace");
#define REFUSED(change, status, name)                                                                    \
    do {                                                                                                 \
        u.args = good;                                                                                   \
        memcpy(sequences, b.sequences, sizeof sequences);                                                \
        u.args.sequences = sequences;                                                                    \
        change;                                                                                          \
        refused(&u.kind, &u.args, work, bytes, status, name);                                            \
    } while (0)
    REFUSED(u.args.size = 0, TQ_E_SIZE, "size");
    REFUSED(u.args.sequences = NULL, TQ_E_NULL, "sequences");
    REFUSED(u.args.pool = b.scenes[0].segments, TQ_E_NULL, "pool");
    REFUSED(u.args.q = NULL, TQ_E_NULL, "q");
    REFUSED(u.args.out = NULL, TQ_E_NULL, "out");
    REFUSED(u.args.n_q--, TQ_E_SIZE, "q");
    REFUSED(u.args.n_out--, TQ_E_SIZE, "out");
    REFUSED(u.args.n_lse--, TQ_E_SIZE, "lse");
    REFUSED(u.args.q_token_stride = 1, TQ_E_STRIDE, "q");
    REFUSED(u.args.out_head_stride = 1, TQ_E_STRIDE, "out");
    REFUSED(u.args.max = u.max.data, TQ_E_NULL, "sum");
    REFUSED(u.args.sum = u.sum.data, TQ_E_NULL, "max");
    REFUSED((u.args.sum = u.sum.data, u.args.max = u.max.data), TQ_E_FORMAT, "sum");
    REFUSED(u.args.lse = u.args.out, TQ_E_OVERLAP, "lse");
    REFUSED(sequences[1].n_queries++, TQ_E_SIZE, "max_queries");
    REFUSED(sequences[1].segments = NULL, TQ_E_NULL, "segments");
    REFUSED(sequences[1].query_end = UINT64_MAX;
            sequences[1].kept_from = UINT64_MAX, TQ_E_POSITION, "n_queries");
    REFUSED(sequences[0].n_segments += 9, TQ_E_SIZE, "max_segments");
    tq_segment longer = b.scenes[0].segments[0];
    longer.length = b.config.max_positions + 1;
    REFUSED((sequences[0].segments = &longer, sequences[0].n_segments = 1), TQ_E_SIZE, "max_positions");
    REFUSED(sequences[0].n_segments = SIZE_MAX, TQ_E_SIZE, "max_segments");
    static const int32_t wrong_ranges[][MOST_SEQUENCES + 1] = {{1, 2}, {INT32_MIN, 5}, {0, -1}};
    for (size_t i = 0; i < 3; i++)
        REFUSED(u.args.cu_seqlens = wrong_ranges[i], TQ_E_SIZE, "cu_seqlens");
    REFUSED(u.args.lse = (float *)(void *)sequences, TQ_E_OVERLAP, "lse");
    guard_assert_untouched(&u.out);
    guard_assert_untouched(&u.lse);
    u.args = good;
    u.args.n_sequences = 0; /* nothing to do */
    assert_int_equal(tq_attention_run(&u.kind, &u.args, NULL, 0), TQ_OK);
    run_close(&u);
    batch_close(&b);
}

/* Positions that a ring has lost, and queries whose distances nobody knows. */
static void places_refused(void **state) {
    (void)state;
    enum { T = 20 };
    static float k[T * D], q[T * H * D], out[T * H * D], stats[2][T * H];
    static const float slopes[H] = {0.5f, 0.25f, 0.1f, 0};
    static const uint64_t tree[T] = {1};
    tq_attention_kind causal, both;
    size_t bytes, more;
    tq_attention_config config = small_config();
    config.n_kv_heads = 1;
    config.max_queries = T;
    config.window = 4;
    assert_int_equal(tq_attention_plan(&config, &causal, &bytes), TQ_OK);
    config.window = 0;
    config.bidirectional = 1;
    assert_int_equal(tq_attention_plan(&config, &both, &more), TQ_OK);
    if (more > bytes) bytes = more;
    edge work = edge_new(bytes);
    tq_segment s = {.length = 8, .first_position = 12};
    assert_int_equal(tq_view_dense(&s.k, TQ_F32, D, 1, T, k, T * D), TQ_OK);
    s.v = s.k;
    tq_sequence sequence = {.segments = &s,
                            .n_segments = 1,
                            .n_queries = 1,
                            .kept_first = 2,
                            .kept_from = 12,
                            .tree = tree,
                            .n_tree = 9};
    tq_attention_batch args = small_batch(&sequence, 1, q, out, T);
    args.n_lse = T * H;
    refused(&causal, &args, work.data, bytes, TQ_E_POSITION, "n_tree");
    sequence.n_tree = 8;
    assert_int_equal(tq_attention_run(&causal, &args, work.data, bytes), TQ_OK);
    sequence = (tq_sequence){.segments = &s, .n_segments = 1, .n_queries = T};
    s.first_position = 0;
    args.slopes = slopes; /* 20 queries on 8 positions */
    refused(&both, &args, work.data, bytes, TQ_E_POSITION, "query_end");
    sequence.n_queries = 1;
    args.max = stats[0];
    args.sum = stats[1];
    refused(&both, &args, work.data, bytes, TQ_E_POSITION, "query_end");
    args.slopes = NULL;
    assert_int_equal(tq_attention_run(&both, &args, work.data, bytes), TQ_OK);
    edge_free(&work);
}

/* A batch makes tasks of sequences, KV heads and positions, so that threads have work whatever it is. */
static void batches_are_shared_out(void **state) {
    (void)state;
    rng r = {9};
    for (int i = 0; i < 2; i++) {
        pool p = {.threads = 2};
        const tq_parallel parallel = {pool_run, &p};
        scene_plan plan = i == 0 ? plain_plan(32, 1, 64, 1, 1500) : plain_plan(8, 1, 64, 64, 600);
        scene s;
        scene_open(&s, &plan, &r);
        s.params.parallel = &parallel;
        whole w = whole_new(&s);
        attend(&s, &w);
        assert_true(p.tasks_seen >= 2);
        whole_free(&w);
        scene_close(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mixes),
        cmocka_unit_test(open_mixes),
        cmocka_unit_test(ranges),
        cmocka_unit_test(block_tables),
        cmocka_unit_test(trees),
        cmocka_unit_test(hidden_drafts),
        cmocka_unit_test(one_plan_for_ten_thousand_steps),
        cmocka_unit_test(plans_are_enough),
        cmocka_unit_test(plans_refused),
        cmocka_unit_test(runs_refused),
        cmocka_unit_test(places_refused),
        cmocka_unit_test(batches_are_shared_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
