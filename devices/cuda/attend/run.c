/* SPDX-License-Identifier: MIT
 * Runs of planned attention: a batch checked, and three launches, or four with float16. */
#include <cuda_runtime_api.h>
#include <math.h>

#include "attend/plan.h"
#include "base/size.h"
#include "pages.h"

static const float log2_e = 1.44269504f;

static tq_status check_limits(const tq_cuda_attention *p, tq_cuda_attention_batch *b) {
    if (b->n_queries == 0) b->n_queries = 1;
    size_t tokens;
    if (b->n_sequences > p->layer.max_sequences)
        return tq_fail(TQ_E_SIZE, b->n_sequences, "n_sequences", "%zu sequences: the plan is for %zu",
                       b->n_sequences, p->layer.max_sequences);
    if (!tq_size_mul(b->n_sequences, b->n_queries, &tokens) || tokens > p->layer.max_queries)
        return tq_fail(TQ_E_SIZE, b->n_queries, "n_queries",
                       "%zu sequences of %zu queries: the plan is for %zu queries", b->n_sequences,
                       b->n_queries, p->layer.max_queries);
    return TQ_OK;
}

/* Stretches that a sequence may have. */
static tq_status take_centre(const tq_cuda_attention *p, const tq_cuda_attention_batch *b,
                             tq_prepare_args *a) {
    const tq_view *k = b->k;
    const size_t stretch = k->centre_stretch;
    a->attend.stretches = 1, a->attend.stretch = INT32_MAX, a->attend.stretch_shift = 31;
    if (k->centre == NULL && p->centre_stretch != 0)
        return tq_fail(TQ_E_NULL, 0, "centre",
                       "centre of k is NULL: the plan is for centres of stretches of %u",
                       p->centre_stretch);
    if (k->centre == NULL) return TQ_OK;
    if (k->n_centres == 0)
        return tq_fail(TQ_E_SIZE, 0, "n_centres", "n_centres is 0, and there is a centre");
    if (stretch != p->centre_stretch)
        return tq_fail(TQ_E_POSITION, stretch, "centre_stretch", "centre_stretch %zu: the plan is for %u",
                       stretch, p->centre_stretch);
    if (stretch == 0 && b->centre_tables == NULL && k->n_centres > 1)
        return tq_fail(TQ_E_POSITION, k->n_centres, "centre_stretch",
                       "%zu centres, and centre_stretch is 0: one is for all then, or it was forgotten",
                       k->n_centres);
    if (stretch != 0) {
        a->attend.stretches = (uint32_t)((p->layer.max_positions - 1) / stretch + 1);
        a->attend.stretch = (uint32_t)stretch;
        a->attend.stretch_shift = -1;
        for (int i = 0; i < 31; i++)
            if (stretch == (size_t)1 << i) a->attend.stretch_shift = i;
        if (b->centre_tables == NULL && a->attend.stretches > 1)
            return tq_fail(TQ_E_NULL, 0, "centre_tables",
                           "centre_tables is NULL: centres of stretches go through it");
    }
    uint32_t by = 31; /* with a power of two that is no more than the stretch, but for a smaller one */
    while (by > 1 && a->attend.stretch >> by == 0)
        by--;
    if (a->attend.stretch_shift > 0) by--;
    a->attend.stretch_by = by;
    a->attend.stretch_factor =
        (uint32_t)((((uint64_t)1 << (32 + by)) + a->attend.stretch - 1) / a->attend.stretch);
    if (b->centre_tables != NULL && b->centre_table_stride == 0)
        return tq_fail(TQ_E_POSITION, 0, "centre_table_stride", "centre_table_stride is 0");
    TRY(tq_check_product("centre", k->n_centres, p->layer.n_kv_heads * (size_t)p->layer.head_dim,
                         sizeof *k->centre, NULL));
    a->centre = k->centre;
    a->centre_tables = b->centre_tables;
    a->centre_table_stride = b->centre_table_stride;
    return TQ_OK;
}

static uint32_t unit_of(const tq_cuda_place *c, size_t row_bytes) {
    const uint64_t all = (uintptr_t)c->data | c->row | c->head | c->page | row_bytes;
    return all % 16 == 0 ? 16 : all % 4 == 0 ? 4 : 1;
}

/* A side's codes. `scale`: what a centroid and a norm of it make a value with. */
static tq_status take_codes(const tq_cuda_attention *p, const tq_view *view, const char *name,
                            const tq_plan *plan, tq_format format, size_t pages, size_t rows,
                            tq_attend_codes *out, float *scale) {
    tq_rows code_rows, norm_rows;
    tq_cuda_place c, n;
    if (view->store != TQ_STORE_CODES || view->codec.format != format)
        return tq_fail(TQ_E_FORMAT, 0, name, "%s: the plan is for codes of %s", name,
                       tq_format_name(format));
    if (view->codec.head_dim != plan->dim)
        return tq_fail(TQ_E_HEAD_DIM, view->codec.head_dim, name, "%s: head_dim %u, the plan is for %zu",
                       name, view->codec.head_dim, plan->dim);
    TRY(tq_plan_check_scale_factor(plan, view->codec.scale_factor_d512));
    if (view->blocks != NULL)
        return tq_fail(TQ_E_POSITION, 0, name,
                       "%s: blocks anywhere are not read on a device: pages of a pool are", name);
    const tq_pages codes = {
        "data", (void *)view->data, view->data_bytes,  plan->row_bytes,  rows, p->layer.n_kv_heads,
        pages,  view->row_stride,   view->head_stride, view->page_stride};
    const tq_pages norms = {"norms",
                            (void *)view->norms,
                            view->n_norms,
                            plan->norm_bytes,
                            rows,
                            p->layer.n_kv_heads,
                            pages,
                            view->norm_row_stride,
                            view->norm_head_stride,
                            view->norm_page_stride};
    TRY(tq_place_pages(codes, &code_rows, &c));
    TRY(tq_place_pages(norms, &norm_rows, &n));
    if (pages == 1) c.page = n.page = 0;
    if ((c.row | c.head | c.page | n.row | n.head | n.page) > UINT32_MAX)
        return tq_fail(TQ_E_STRIDE, 0, name,
                       "%s: strides of 4 GiB and more are not read: use smaller pages", name);
    *out = (tq_attend_codes){.data = c.data,
                             .norms = n.data,
                             .row = (uint32_t)c.row,
                             .head = (uint32_t)c.head,
                             .page = (uint32_t)c.page,
                             .norm_row = (uint32_t)n.row,
                             .norm_head = (uint32_t)n.head,
                             .norm_page = (uint32_t)n.page,
                             .unit = unit_of(&c, plan->row_bytes)};
    const bool pieces = out->unit == 16 && rows % TQ_ATTEND_TILE == 0 && n.row == plan->norm_bytes &&
                        ((uintptr_t)n.data | n.head | n.page) % 16 == 0;
    if (!p->shape.any_layout && !pieces)
        return tq_fail(TQ_E_STRIDE, 0, name,
                       "%s: rows of codes, and norms side by side, must begin on multiples of 16 bytes, "
                       "and page_rows %zu be a multiple of 16; or plan with any_layout",
                       name, rows);
    *scale = plan->n_norms == 2 ? 1.0f / view->codec.scale_factor_d512 : plan->norm_scale;
    return TQ_OK;
}

static tq_status take_views(const tq_cuda_attention *p, const tq_cuda_attention_batch *b,
                            tq_prepare_args *a, float *k_scale, float *v_scale) {
    tq_attend_args *const t = &a->attend;
    TRY(tq_check_not_null("k", b->k));
    TRY(tq_check_not_null("v", b->v));
    const size_t rows = b->k->page_rows == 0 ? b->k->capacity : b->k->page_rows;
    const size_t v_rows = b->v->page_rows == 0 ? b->v->capacity : b->v->page_rows;
    if (rows == 0 || rows > INT32_MAX || rows != v_rows)
        return tq_fail(TQ_E_POSITION, rows, "page_rows",
                       "pages of %zu keys and of %zu values: they must be as many, 1 to 2^31 - 1", rows,
                       v_rows);
    if (b->block_tables == NULL && b->k->pool_pages == 0 && b->v->pool_pages == 0) {
        /* sequences side by side */
    } else if (b->k->pool_pages == 0 || b->v->pool_pages == 0 ||
               (b->block_tables == NULL &&
                (b->k->pool_pages < b->n_sequences || b->v->pool_pages < b->n_sequences)))
        return tq_fail(TQ_E_SIZE, b->k->pool_pages, "pool_pages",
                       "pool_pages %zu of keys, %zu of values: %zu sequences", b->k->pool_pages,
                       b->v->pool_pages, b->n_sequences);
    TRY(take_codes(p, b->k, "k", &p->k_plan, p->layer.k_format,
                   b->k->pool_pages == 0 ? b->n_sequences : b->k->pool_pages, rows, &t->k, k_scale));
    TRY(take_codes(p, b->v, "v", &p->v_plan, p->layer.v_format,
                   b->v->pool_pages == 0 ? b->n_sequences : b->v->pool_pages, rows, &t->v, v_scale));
    if (b->v->centre != NULL) return tq_fail(TQ_E_FORMAT, 0, "v", "v: values have no centre");
    if (b->block_tables != NULL && (b->table_stride == 0 || b->table_stride > UINT32_MAX))
        return tq_fail(TQ_E_SIZE, b->table_stride, "table_stride", "table_stride is %zu",
                       b->table_stride);
    if (b->code_first > INT32_MAX)
        return tq_fail(TQ_E_OVERFLOW, b->code_first, "code_first",
                       "code_first: positions of a device are below 2^31");
    t->k.table = p->k_table;
    t->v.table = p->v_table;
    t->tables = b->block_tables;
    t->table_stride = (uint32_t)b->table_stride;
    t->page_rows = (uint32_t)rows;
    t->page_shift = -1;
    for (int i = 0; i < 31; i++)
        if (rows == (size_t)1 << i) t->page_shift = i;
    t->code_first = (uint32_t)b->code_first;
    return TQ_OK;
}

static tq_status take_dense_side(const tq_cuda_attention *p, const tq_cuda_dense *d, const char *name,
                                 uint32_t dim, size_t rows, size_t sequences, uint64_t *row,
                                 uint64_t *head, uint64_t *sequence) {
    tq_rows r = {name, d->data,        sizeof(uint16_t), dim, p->layer.n_kv_heads,
                 rows, d->head_stride, d->row_stride};
    TRY(tq_rows_check(&r, SIZE_MAX));
    size_t end = tq_rows_bytes(&r) / sizeof(uint16_t), step = d->sequence_stride;
    if (step == 0) {
        size_t heads = 0, positions = 0;
        if (tq_size_mul(r.heads, r.head_stride, &heads) && tq_size_mul(r.rows, r.row_stride, &positions))
            step = heads > positions ? heads : positions;
    }
    if (sequences > 1 && step < end)
        return tq_fail(TQ_E_STRIDE, step, name, "%s: sequences of %zu values are %zu apart", name, end,
                       step);
    if (!tq_size_reach(&end, sequences, step))
        return tq_fail(TQ_E_OVERFLOW, sequences, name, "%s: %zu sequences do not fit in memory", name,
                       sequences);
    if (end > d->n)
        return tq_fail(TQ_E_SIZE, end, name, "%s: %zu values are needed, %zu are there", name, end, d->n);
    if ((r.row_stride | r.head_stride | step) % 8 != 0 || (uintptr_t)d->data % 16 != 0)
        return tq_fail(TQ_E_STRIDE, 0, name,
                       "%s: data on a multiple of 16 bytes, strides of multiples of 8 values", name);
    *row = r.row_stride, *head = r.head_stride, *sequence = step;
    return TQ_OK;
}

static tq_status take_dense(const tq_cuda_attention *p, const tq_cuda_dense *k, const tq_cuda_dense *v,
                            const char *k_name, const char *v_name, const char *rows_name, size_t rows,
                            size_t sequences, tq_attend_dense *out) {
    if (rows == 0 && k->data == NULL && v->data == NULL) return TQ_OK;
    if (!p->dense)
        return tq_fail(TQ_E_FORMAT, 0, k_name,
                       "%s is given, and the plan is for codes alone: plan with `dense`", k_name);
    if (rows == 0 || rows > INT32_MAX)
        return tq_fail(TQ_E_POSITION, rows, rows_name,
                       "%s is %zu, and %s is given: 1 to 2^31 - 1 positions", rows_name, rows,
                       k->data != NULL ? k_name : v_name);
    TRY(take_dense_side(p, k, k_name, p->layer.head_dim, rows, sequences, &out->k_row, &out->k_head,
                        &out->k_sequence));
    TRY(take_dense_side(p, v, v_name, p->layer.v_head_dim, rows, sequences, &out->v_row, &out->v_head,
                        &out->v_sequence));
    out->k = k->data, out->v = v->data;
    return TQ_OK;
}

/* Queries or outputs: [tokens][H][dim]. */
static tq_status take_rows(const char *name, const void *data, size_t n, tq_type type,
                           const tq_cuda_attention *p, size_t tokens, uint32_t dim, size_t token_stride,
                           size_t head_stride, tq_rows *rows) {
    *rows = (tq_rows){name,   data,        tq_type_size(type), dim, p->layer.n_heads,
                      tokens, head_stride, token_stride};
    if (rows->head_stride == 0) rows->head_stride = dim;
    if (rows->row_stride == 0)
        TRY(tq_check_product(name, rows->heads, rows->head_stride, 1, &rows->row_stride));
    if ((uintptr_t)data % tq_type_size(type) != 0)
        return tq_fail(TQ_E_STRIDE, 0, name, "%s is not aligned as its type", name);
    return tq_rows_check(rows, n);
}

static tq_status check_outputs(const tq_cuda_attention_batch *b, const tq_rows *out, const tq_rows *q,
                               size_t rows) {
    if ((b->max == NULL) != (b->sum == NULL))
        return tq_fail(TQ_E_NULL, 0, b->max == NULL ? "max" : "sum", "max and sum: both or neither");
    if (b->sum != NULL && b->lse != NULL)
        return tq_fail(TQ_E_NULL, 0, "lse", "lse: a result that is left open has none yet");
    if ((b->lse != NULL || b->sum != NULL) && b->n_lse < rows)
        return tq_fail(TQ_E_SIZE, rows, "n_lse", "n_lse: %zu elements are needed, %zu are there", rows,
                       b->n_lse);
    TRY(tq_rows_check_apart(out, q));
    const float *const others[] = {b->lse, b->max, b->sum};
    static const char *const names[] = {"lse", "max", "sum"};
    for (size_t i = 0; i < 3; i++)
        if (others[i] != NULL) {
            TRY(tq_check_apart("out", out->data, tq_rows_bytes(out), names[i], others[i],
                               rows * sizeof(float)));
            TRY(tq_check_apart("q", q->data, tq_rows_bytes(q), names[i], others[i],
                               rows * sizeof(float)));
        }
    return TQ_OK;
}

static tq_status check_masks(const tq_cuda_attention *p, const tq_cuda_attention_batch *b) {
    if (b->tree == NULL && b->n_tree == 0) return TQ_OK;
    if (b->tree == NULL || b->n_tree == 0 || b->n_tree > INT32_MAX)
        return tq_fail(TQ_E_MASK, b->n_tree, "n_tree",
                       "a tree has bits for 1 to 2^31 - 1 positions, and n_tree says how many");
    if (p->layer.bidirectional) return tq_fail(TQ_E_MASK, 0, "tree", "a tree is for causal layers");
    if (b->slopes != NULL)
        return tq_fail(TQ_E_MASK, 0, "slopes", "slopes would count distances that are not the tree's");
    return TQ_OK;
}

/* How codes come: format_of in attend/codes.cuh. */
static void take_order(const tq_plan *plan, uint32_t *group, uint32_t *linear) {
    const size_t vectors = plan->dim / TQ_LANES;
    *linear = plan->v1 || plan->book->bits == 8;
    *group = plan->book->packing == TQ_PACK_PAIRS ? 8
             : *linear                            ? (vectors % 4 == 0 ? 4 : 1)
                                                  : (uint32_t)(vectors % 8 == 0 ? 8 : vectors & -vectors);
}

/* How the rows of a KV head are worked on: `columns` a block, in which `held` have their places, and
 * `dense` where float16 is attended to. */
typedef struct row_blocks {
    bool many;
    size_t rows;
    uint32_t columns, held, dense;
} row_blocks;

static row_blocks blocks_of(const tq_cuda_attention *p, size_t n_queries) {
    const uint32_t most = TQ_ATTEND_COLUMNS;
    const size_t rows = p->group * n_queries; /* within the plan's limits */
    const bool many = tq_attend_is_many(p, rows);
    const uint32_t columns = many ? tq_attend_many_columns(p, rows) : tq_attend_columns(p);
    return (row_blocks){.many = many,
                        .rows = rows,
                        .columns = columns,
                        .held = columns < most ? most : columns,
                        .dense = columns < most ? columns : most};
}

/* All that does not lie in the workspace. */
static tq_status take(const tq_cuda_attention *p, const tq_cuda_attention_batch *b, tq_prepare_args *a,
                      tq_merge_args *m) {
    tq_attend_args *const t = &a->attend;
    const size_t tokens = b->n_sequences * b->n_queries;
    float k_scale, v_scale;
    tq_rows q, out;
    *a = (tq_prepare_args){.k_plan = p->k_device};
    TRY(take_views(p, b, a, &k_scale, &v_scale));
    TRY(tq_check_not_null("lengths", b->lengths));
    TRY(take_centre(p, b, a));
    const size_t dense_rows = b->n_dense_rows == 0 ? b->n_sequences : b->n_dense_rows;
    if (dense_rows < b->n_sequences && b->dense_rows == NULL)
        return tq_fail(TQ_E_SIZE, dense_rows, "n_dense_rows", "n_dense_rows %zu: there are %zu sequences",
                       dense_rows, b->n_sequences);
    TRY(take_dense(p, &b->sink_k, &b->sink_v, "sink_k", "sink_v", "n_sinks", b->n_sinks, dense_rows,
                   &t->sink));
    TRY(take_dense(p, &b->recent_k, &b->recent_v, "recent_k", "recent_v", "recent_capacity",
                   b->recent_capacity, dense_rows, &t->recent));
    if (b->coded_lengths == NULL && t->recent.k != NULL)
        return tq_fail(TQ_E_NULL, 0, "coded_lengths",
                       "coded_lengths is NULL: recent_k is given, and it says what lies there");
    if (b->coded_lengths != NULL && t->recent.k == NULL)
        return tq_fail(TQ_E_NULL, 0, "recent_k",
                       "recent_k is NULL: coded_lengths leaves positions to it");
    TRY(take_rows("q", b->q, b->n_q, p->layer.q_type, p, tokens, p->layer.head_dim, b->q_token_stride,
                  b->q_head_stride, &q));
    const tq_type out_type = b->sum != NULL ? TQ_F32 : p->layer.out_type;
    if (b->sum != NULL && p->layer.out_type != TQ_F32)
        return tq_fail(TQ_E_FORMAT, 0, "out_type",
                       "out_type of the plan is not float32: results that are left open are");
    TRY(take_rows("out", b->out, b->n_out, out_type, p, tokens, p->layer.v_head_dim, b->out_token_stride,
                  b->out_head_stride, &out));
    TRY(check_outputs(b, &out, &q, tokens * p->layer.n_heads));
    TRY(check_masks(p, b));

    if (!tq_attend_counts(p, b->n_sequences, b->n_queries))
        return tq_fail(TQ_E_OVERFLOW, b->n_sequences, "n_sequences",
                       "%zu sequences of %zu queries and up to %zu positions: more than a launch counts; "
                       "use several",
                       b->n_sequences, b->n_queries, p->layer.max_positions);
    const bool capped = p->layer.softcap > 0.0f;
    const float unit = p->layer.scale * (capped ? 1.0f : log2_e);
    const row_blocks blocks = blocks_of(p, b->n_queries);
    t->dense_rows = b->dense_rows;
    t->n_sinks = (uint32_t)b->n_sinks;
    t->recent_capacity = (uint32_t)b->recent_capacity;
    t->lengths = b->lengths;
    t->coded_lengths = b->coded_lengths;
    t->max_length = (uint32_t)p->layer.max_positions;
    t->sequences = (uint32_t)b->n_sequences;
    t->kv_heads = p->layer.n_kv_heads;
    t->group = p->group;
    t->queries = (uint32_t)b->n_queries;
    t->rows = (uint32_t)blocks.rows;
    t->row_blocks = (t->rows - 1) / blocks.columns + 1;
    t->columns = blocks.held;
    t->dense_columns = blocks.dense;
    t->dense_blocks = (t->rows - 1) / blocks.dense + 1;
    t->softcap = p->layer.softcap;
    t->slopes = b->slopes;
    t->causal = !p->layer.bidirectional;
    /* one of all positions is none */
    t->window = p->layer.window >= p->layer.max_positions ? 0 : (uint32_t)p->layer.window;
    t->sink_positions =
        p->layer.sink_positions > INT32_MAX ? INT32_MAX : (uint32_t)p->layer.sink_positions;
    t->tree = b->tree;
    t->n_tree = (uint32_t)b->n_tree;
    t->tree_words = (uint32_t)((b->n_tree + 63) / 64);
    t->operand_words = tq_attend_operand_words(p) * t->columns;
    t->value_scale = v_scale / p->v_factor;

    a->q = (tq_prepare_queries){q.data, q.row_stride, q.head_stride, (uint32_t)p->layer.q_type};
    a->rotate = p->layer.domain == TQ_ORIGINAL;
    a->columns = blocks.columns;
    a->many = blocks.many;
    a->twice = p->shape.accuracy == TQ_ATTEND_EXACT;
    take_order(&p->k_plan, &a->code_group, &a->linear);
    a->code_scale = unit * k_scale / p->k_factor;
    a->scale = unit;
    a->multiprocessors = p->cuda->multiprocessors;
    a->early = p->ahead;

    *m = (tq_merge_args){.v_plan = p->v_device,
                         .v_dim = p->layer.v_head_dim,
                         .columns = blocks.columns,
                         .multiprocessors = a->multiprocessors,
                         .early = a->early,
                         .rotate = a->rotate,
                         .many = blocks.many,
                         .type = (uint32_t)out_type,
                         .base2 = b->base2 != 0,
                         .out = b->out,
                         .token = out.row_stride,
                         .head = out.head_stride,
                         .lse = b->lse,
                         .max = b->max,
                         .sum = b->sum,
                         .sinks = b->sinks};
    take_order(&p->v_plan, &m->value_group, &m->linear);
    return TQ_OK;
}

static int launch_attend(const tq_cuda_attention *p, const tq_prepare_args *a, void *stream) {
    cudaLaunchAttribute attribute = {.id = cudaLaunchAttributeProgrammaticStreamSerialization,
                                     .val = {.programmaticStreamSerializationAllowed = 1}};
    const tq_attend_kernel *const k = a->many ? &p->many : &p->few;
    const cudaLaunchConfig_t config = {.gridDim = {p->cuda->multiprocessors, 1, 1},
                                       .blockDim = {k->threads, 1, 1},
                                       .dynamicSmemBytes = k->shared_bytes,
                                       .stream = (cudaStream_t)stream,
                                       .attrs = &attribute,
                                       .numAttrs = a->early ? 1 : 0};
    tq_attend_args args = a->attend;
    void *pointers[] = {&args};
    return (int)cudaLaunchKernelExC(&config, k->function, pointers);
}

static int launch(const tq_cuda_attention *p, const tq_prepare_args *a, tq_merge_args *m, void *stream) {
    const bool dense = a->attend.sink.k != NULL || a->attend.recent.k != NULL;
    const bool beside = !a->many && p->few.beside;
    tq_dense_args d = {.attend = a->attend,
                       .q = a->q,
                       .k_dim = p->layer.head_dim,
                       .v_dim = p->layer.v_head_dim,
                       .early = a->early,
                       .scale = a->scale};
    int error = dense ? tq_cuda_ready_dense(&d) : 0;
    if (error == 0) error = tq_cuda_launch_prepare(a, stream);
    if (error == 0 && dense && !beside) error = tq_cuda_launch_dense(&d, stream);
    if (error == 0) error = launch_attend(p, a, stream);
    if (error == 0 && dense && beside) error = tq_cuda_launch_dense(&d, stream);
    m->attend = a->attend;
    return error != 0 ? error : tq_cuda_launch_merge(m, stream);
}

static tq_status place(const tq_cuda_attention *p, const tq_cuda_attention_batch *b,
                       tq_attend_memory *memory) {
    const size_t stretch = b->k == NULL || b->k->centre == NULL ? 0 : p->centre_stretch;
    const size_t heads = b->n_sequences * p->layer.n_kv_heads;
    const row_blocks blocks = blocks_of(p, b->n_queries);
    const tq_attend_size size = {
        .sequences = b->n_sequences,
        .rows = heads * ((blocks.rows - 1) / blocks.columns + 1) * blocks.held,
        .columns = blocks.held,
        .dense_rows = heads * ((blocks.rows - 1) / blocks.dense + 1) * TQ_ATTEND_COLUMNS,
        .stretches = stretch == 0 ? 1 : (p->layer.max_positions - 1) / stretch + 1};
    return tq_attend_place(p, &size, memory);
}

tq_status tq_cuda_attention_workspace(const tq_cuda_attention *p, const tq_cuda_attention_batch *batch,
                                      size_t *bytes) {
    tq_cuda_attention_batch b;
    tq_attend_memory memory;
    TRY(tq_check_not_null("attention", p));
    TRY(tq_check_not_null("bytes", bytes));
    TRY(tq_take_struct("batch", batch, &b, sizeof b));
    TRY(check_limits(p, &b));
    TRY(place(p, &b, &memory));
    *bytes = memory.total;
    return TQ_OK;
}

tq_status tq_cuda_attention_run(const tq_cuda_attention *p, const tq_cuda_attention_batch *batch,
                                void *workspace, size_t workspace_bytes, void *stream) {
    tq_cuda_attention_batch b;
    tq_prepare_args a;
    tq_merge_args m;
    tq_attend_memory at;
    tq_cuda_scope scope;
    TRY(tq_check_not_null("attention", p));
    TRY(tq_take_struct("batch", batch, &b, sizeof b));
    if (b.n_sequences == 0) return TQ_OK;
    TRY(check_limits(p, &b));
    TRY(take(p, &b, &a, &m));
    TRY(place(p, &b, &at));
    TRY(tq_check_not_null("workspace", workspace));
    if (workspace_bytes < at.total)
        return tq_fail(TQ_E_SIZE, at.total, "workspace", "workspace: %zu bytes are needed, %zu are there",
                       at.total, workspace_bytes);
    if ((uintptr_t)workspace % 256 != 0)
        return tq_fail(TQ_E_SIZE, 0, "workspace", "workspace does not lie on a multiple of 256 bytes");
    uint8_t *const w = workspace;
    a.cut = (tq_attend_cut *)(void *)(w + at.cut), a.attend.cut = a.cut;
    a.starts = (uint32_t *)(void *)(w + at.starts), a.attend.starts = a.starts;
    a.plan = (tq_attend_sequence *)(void *)(w + at.plan), a.attend.plan = a.plan;
    a.operands = (uint32_t *)(void *)(w + at.operands), a.attend.operands = a.operands;
    a.bias = (float *)(void *)(w + at.bias), a.attend.bias = a.centre == NULL ? NULL : a.bias;
    a.attend.partial = (float *)(void *)(w + at.partial);
    a.attend.dense_partial = (float *)(void *)(w + at.dense_partial);
    TRY(tq_cuda_enter(&scope, p->cuda));
    return tq_cuda_leave(&scope, launch(p, &a, &m, stream));
}

tq_status tq_cuda_attention_merge(tq_cuda *cuda, size_t n_partials, size_t n_rows, size_t n_heads,
                                  size_t head_dim, const float *const *acc, const float *const *max,
                                  const float *const *sum, const float *sinks, int base2,
                                  tq_type out_type, void *out, float *lse, void *stream) {
    tq_cuda_scope scope;
    TRY(tq_check_not_null("cuda", cuda));
    TRY(tq_check_type("out_type", out_type));
    if (n_partials == 0 || n_partials > TQ_MERGE_MOST)
        return tq_fail(TQ_E_SIZE, n_partials, "n_partials", "n_partials %zu: 1 to %d are served",
                       n_partials, TQ_MERGE_MOST);
    if (head_dim == 0 || head_dim > TQ_MAX_DIM)
        return tq_fail(TQ_E_HEAD_DIM, head_dim, "head_dim", "head_dim %zu: 1 to %d are served", head_dim,
                       TQ_MAX_DIM);
    if (n_heads == 0)
        return tq_fail(TQ_E_HEADS, 0, "n_heads", "n_heads is 0: there must be one at least");
    if (n_rows == 0) return TQ_OK;
    TRY(tq_check_product("out", n_rows, head_dim, sizeof(float), NULL));
    TRY(tq_check_not_null("acc", acc));
    TRY(tq_check_not_null("max", max));
    TRY(tq_check_not_null("sum", sum));
    TRY(tq_check_not_null("out", out));
    tq_merge_partials_args m = {.partials = (uint32_t)n_partials,
                                .heads = n_heads > UINT32_MAX ? UINT32_MAX : (uint32_t)n_heads,
                                .dim = (uint32_t)head_dim,
                                .base2 = base2 != 0,
                                .out_type = (uint32_t)out_type,
                                .rows = n_rows,
                                .sinks = sinks,
                                .out = out,
                                .lse = lse};
    for (size_t i = 0; i < n_partials; i++) {
        TRY(tq_check_not_null("acc", acc[i]));
        TRY(tq_check_not_null("max", max[i]));
        TRY(tq_check_not_null("sum", sum[i]));
        m.acc[i] = acc[i], m.max[i] = max[i], m.sum[i] = sum[i];
    }
    TRY(tq_cuda_enter(&scope, cuda));
    return tq_cuda_leave(&scope, tq_cuda_launch_merge_partials(&m, stream));
}
