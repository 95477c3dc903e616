/* SPDX-License-Identifier: MIT
 * A call checked: the arrays that it reads and writes, and the sequences, which are prepared in the
 * workspace as they are checked. */
#include "attention/call.h"

#include "base/size.h"
#include "base/tasks.h"
#include "codec/centre.h"
#include "cpu/dispatch.h"

/* How many queries a sequence has, with n as its own word for it. */
static tq_status count_queries(const tq_attention_batch *b, size_t i, size_t *n) {
    const int32_t *cu = b->cu_seqlens;
    if (cu == NULL) return TQ_OK;
    if (cu[0] != 0 || cu[i] < 0 || cu[i + 1] < cu[i])
        return tq_fail(TQ_E_SIZE, i, "cu_seqlens", "cu_seqlens: from 0 on, none below the one before");
    const size_t range = (size_t)(cu[i + 1] - cu[i]);
    if (*n != 0 && *n != range)
        return tq_fail(TQ_E_SIZE, i, "cu_seqlens", "sequences[%zu] has %zu queries, cu_seqlens %zu", i,
                       *n, range);
    *n = range;
    return TQ_OK;
}

/* The pool's view through a row of block tables. */
static tq_status view_through(const tq_attention_batch *b, size_t i, tq_view *view, size_t length) {
    view->pages = b->block_tables + i * b->table_stride;
    view->ring_start = 0;
    view->n_pages = view->page_rows == 0 ? 0 : (length + view->page_rows - 1) / view->page_rows;
    view->capacity = view->n_pages * view->page_rows;
    if (view->n_pages <= b->table_stride) return TQ_OK;
    return tq_fail(TQ_E_POSITION, i, "lengths",
                   "lengths[%zu] is %zu: a row of block_tables has %zu pages of %zu", i, length,
                   b->table_stride, view->page_rows);
}

/* The pool's centres through a row of tables. */
static tq_status take_centres(const tq_attention_batch *b, size_t i, tq_view *view, size_t length) {
    if (b->centre_tables == NULL && (view->centre == NULL || view->centre_stretch == 0)) return TQ_OK;
    TRY(tq_check_not_null("centre_tables", b->centre_tables));
    TRY(tq_check_not_null("k.centre", view->centre));
    if (view->centre_stretch == 0 && b->centre_table_stride != 1)
        return tq_fail(TQ_E_POSITION, b->centre_table_stride, "centre_table_stride",
                       "centre_table_stride %zu: the pool's keys have centre_stretch 0, one for all of a "
                       "sequence",
                       b->centre_table_stride);
    if (length == 0) return TQ_OK;
    view->centre_table = b->centre_tables + i * b->centre_table_stride;
    view->n_centre_table = (size_t)tq_stretch_of(length - 1, view->centre_stretch) + 1;
    if (view->n_centre_table <= b->centre_table_stride) return TQ_OK;
    return tq_fail(TQ_E_POSITION, i, "lengths",
                   "lengths[%zu] is %zu: a row of centre_tables has %zu stretches of %zu", i, length,
                   b->centre_table_stride, view->centre_stretch);
}

/* Sequence i, out of the caller's or out of the pool: `segment` is then its memory. Of one without
 * queries nothing else is looked at. */
static tq_status sequence_at(const tq_attention_batch *b, size_t i, tq_sequence *sequence,
                             tq_segment *segment) {
    *sequence = (tq_sequence){0};
    if (b->sequences != NULL) {
        *sequence = b->sequences[i];
        return count_queries(b, i, &sequence->n_queries);
    }
    sequence->n_queries = b->cu_seqlens == NULL;
    TRY(count_queries(b, i, &sequence->n_queries));
    if (sequence->n_queries == 0) return TQ_OK;
    const int32_t length = b->lengths[i];
    if (length < 0) return tq_fail(TQ_E_POSITION, i, "lengths", "lengths[%zu] is %d", i, (int)length);
    *segment = *b->pool;
    TRY(take_centres(b, i, &segment->k, (size_t)length));
    TRY(view_through(b, i, &segment->k, (size_t)length));
    TRY(view_through(b, i, &segment->v, (size_t)length));
    segment->length = (size_t)length;
    segment->first_position = 0;
    sequence->segments = segment;
    sequence->n_segments = 1;
    return TQ_OK;
}

/* What all sequences come to. */
typedef struct totals {
    size_t sequences, tokens, segments;
} totals;

static tq_status check_limit(const char *name, size_t i, size_t n, size_t most) {
    if (n <= most) return TQ_OK;
    return tq_fail(TQ_E_SIZE, i, name, "%s: %zu of them, planned were %zu", name, n, most);
}

static tq_status check_limits(const tq_attend_kind *kind, const tq_sequence *s, size_t i) {
    size_t positions = 0;
    TRY(check_limit("max_segments", i, s->n_segments, kind->max_segments));
    for (size_t j = 0; j < s->n_segments && s->segments != NULL; j++)
        if (!tq_size_add(positions, s->segments[j].length, &positions)) positions = SIZE_MAX;
    return check_limit("max_positions", i, positions, kind->max_positions);
}

/* Counts, before any view is looked at. Sequences without queries are left out. */
static tq_status count(const tq_attend_call *call, totals *all) {
    const tq_attention_batch *b = &call->batch;
    *all = (totals){0};
    for (size_t i = 0; i < b->n_sequences; i++) {
        tq_sequence s;
        tq_segment segment;
        TRY(sequence_at(b, i, &s, &segment));
        if (s.n_queries == 0) continue;
        all->sequences++;
        if (!tq_size_add(all->tokens, s.n_queries, &all->tokens) ||
            !tq_size_add(all->segments, s.n_segments, &all->segments))
            return tq_fail(TQ_E_OVERFLOW, i, "sequences", "more queries or segments than can be counted");
        if (!call->kind.any_format) TRY(check_limits(&call->kind, &s, i));
    }
    if (call->kind.any_format) return TQ_OK;
    TRY(check_limit("max_sequences", 0, all->sequences, call->kind.max_sequences));
    return check_limit("max_queries", 0, all->tokens, call->kind.max_queries);
}

/* Checks the sequences, and prepares them in the workspace, NULL: nowhere. *bytes is what they want. */
static tq_status take_sequences(const tq_attend_call *call, const totals *all, tq_attend_batch *batch,
                                size_t *bytes) {
    const tq_attention_batch *b = &call->batch;
    size_t segments_at, next = 0, token = 0, segment = 0;
    uint8_t *base = (uint8_t *)batch->workspace;
    if (!tq_attend_tables_place(all->sequences, all->segments, bytes, &segments_at))
        return tq_fail(TQ_E_OVERFLOW, 0, "sequences", "more sequences than memory holds");
    for (size_t i = 0; i < b->n_sequences; i++) {
        tq_sequence from;
        tq_segment pooled;
        tq_attend_sequence scratch, *s = base == NULL ? &scratch : &batch->sequences[next];
        TRY(sequence_at(b, i, &from, &pooled));
        if (from.n_queries == 0) continue;
        TRY(tq_attend_sequence_init(
            s, &call->kind, &from,
            base == NULL ? NULL : (tq_attend_segment *)(void *)(base + segments_at) + segment));
        TRY(tq_attend_sequence_place(s, &call->kind, bytes));
        if (s->tree_words > 0 && b->slopes != NULL)
            return tq_fail(TQ_E_MASK, i, "tree", "tree: with slopes distances would not be the tree's");
        if (b->sum != NULL && from.query_end == 0 && b->sequences != NULL &&
            tq_attend_is_placed(&call->kind))
            return tq_fail(TQ_E_POSITION, i, "query_end",
                           "query_end is 0: a part of the positions does not tell where the queries "
                           "stand");
        const size_t blocks = call->kind.kv_heads * s->cut.row_blocks;
        s->first_token = token;
        s->first_task = batch->tasks;
        s->first_block = batch->blocks;
        batch->tasks += blocks * s->cut.splits;
        batch->blocks += s->cut.splits > 1 ? blocks : 0;
        const size_t values = call->kind.heads * from.n_queries * call->kind.k_dim; /* fits */
        size_t work;
        if (!tq_size_mul(values, s->positions, &work) || !tq_size_add(batch->work, work, &batch->work))
            batch->work = SIZE_MAX;
        token += from.n_queries;
        segment += from.n_segments;
        next++;
    }
    return TQ_OK;
}

tq_status tq_attend_call_size(const tq_attend_call *call, size_t *bytes) {
    tq_attend_batch batch = {.kind = &call->kind};
    totals all;
    size_t total;
    TRY(tq_check_parallel(call->batch.parallel));
    TRY(count(call, &all));
    TRY(take_sequences(call, &all, &batch, &total));
    *bytes = total;
    return TQ_OK;
}

/* The arrays of a call. */
typedef struct arrays {
    tq_rows q, out, lse, max, sum;
    const tq_rows *written[4]; /* those of them that are wanted */
    size_t n_written;
} arrays;

/* Strides of 0: a token's heads side by side, tokens one after the other. */
static tq_status take_array(tq_rows *r, size_t n) {
    if (r->head_stride == 0) r->head_stride = r->length;
    if (r->row_stride == 0) TRY(tq_check_product(r->name, r->heads, r->head_stride, 1, &r->row_stride));
    return tq_rows_check(r, n);
}

static tq_rows stats_of(const tq_attend_call *call, const char *name, const float *data, size_t tokens) {
    const tq_attention_batch *b = &call->batch;
    return (tq_rows){
        name, data, sizeof *data, 1, call->kind.heads, tokens, b->lse_head_stride, b->lse_token_stride};
}

static tq_status take_arrays(const tq_attend_call *call, size_t tokens, arrays *a) {
    const tq_attention_batch *b = &call->batch;
    const tq_attend_kind *kind = &call->kind;
    *a = (arrays){.q = {"q", b->q, tq_type_size(kind->q_type), kind->k_dim, kind->heads, tokens,
                        b->q_head_stride, b->q_token_stride},
                  .out = {call->out_name, b->out, tq_type_size(kind->out_type), kind->v_dim, kind->heads,
                          tokens, b->out_head_stride, b->out_token_stride},
                  .lse = stats_of(call, "lse", b->lse, tokens),
                  .max = stats_of(call, "max", b->max, tokens),
                  .sum = stats_of(call, "sum", b->sum, tokens)};
    tq_rows *const all[] = {&a->q, &a->out, &a->lse, &a->max, &a->sum};
    const size_t n[] = {b->n_q, b->n_out, b->n_lse, b->n_lse, b->n_lse};
    for (size_t i = 0; i < 5; i++) {
        if (i > 1 && all[i]->data == NULL) continue;
        TRY(take_array(all[i], n[i]));
        if (i > 0) a->written[a->n_written++] = all[i];
    }
    return TQ_OK;
}

/* Bytes of n things of `size`. More than there can be overlap with everything. */
static size_t bytes_of(size_t n, size_t size) {
    return n > PTRDIFF_MAX / size ? PTRDIFF_MAX : n * size;
}

/* Something written, apart from a view's centres and their table. */
static tq_status check_centres_apart(const tq_rows *w, const char *name, const tq_view *v, size_t heads) {
    size_t centres, table = 0;
    TRY(tq_check_product(name, v->n_centres, heads * v->codec.head_dim, sizeof *v->centre, &centres));
    if (v->centre_table != NULL)
        TRY(tq_check_product(name, v->n_centre_table, 1, sizeof *v->centre_table, &table));
    TRY(tq_check_apart(w->name, w->data, tq_rows_bytes(w), name, v->centre, centres));
    return tq_check_apart(w->name, w->data, tq_rows_bytes(w), name, v->centre_table, table);
}

/* Something written, apart from what a view points to. */
static tq_status check_view_apart(const tq_rows *w, const char *name, const tq_view *v, size_t heads) {
    const size_t bytes = tq_rows_bytes(w), norm_bytes = v->n_norms;
    TRY(tq_check_apart(w->name, w->data, bytes, name, v->data, v->blocks == NULL ? v->data_bytes : 0));
    if (v->pages != NULL)
        TRY(tq_check_apart(w->name, w->data, bytes, name, v->pages,
                           bytes_of(v->n_pages, sizeof *v->pages)));
    if (v->store == TQ_STORE_CODES && v->blocks == NULL)
        TRY(tq_check_apart(w->name, w->data, bytes, name, v->norms, norm_bytes));
    if (v->centre != NULL) TRY(check_centres_apart(w, name, v, heads));
    if (v->blocks != NULL)
        TRY(tq_check_apart(w->name, w->data, bytes, name, v->blocks,
                           bytes_of(v->n_pages, sizeof *v->blocks)));
    if (v->blocks != NULL && v->norm_blocks != NULL)
        TRY(tq_check_apart(w->name, w->data, bytes, name, v->norm_blocks,
                           bytes_of(v->n_pages, sizeof *v->norm_blocks)));
    const size_t blocks = v->blocks == NULL || v->page_rows == 0 || v->capacity == 0
                              ? 0
                              : (v->capacity - 1) / v->page_rows + 1;
    for (size_t i = 0; i < blocks && i < v->n_pages; i++) {
        TRY(tq_check_apart(w->name, w->data, bytes, name, v->blocks[i], v->data_bytes));
        if (v->store == TQ_STORE_CODES && v->norm_blocks != NULL)
            TRY(tq_check_apart(w->name, w->data, bytes, name, v->norm_blocks[i], norm_bytes));
    }
    return TQ_OK;
}

static tq_status check_sequence_apart(const tq_attend_call *call, const tq_rows *w,
                                      const tq_sequence *s) {
    const size_t heads = call->kind.kv_heads;
    for (size_t j = 0; j < s->n_segments && s->segments != NULL; j++) {
        if (s->segments[j].length == 0) continue;
        TRY(check_view_apart(w, "k", &s->segments[j].k, heads));
        TRY(check_view_apart(w, "v", &s->segments[j].v, heads));
    }
    if (s->segments != NULL)
        TRY(tq_check_apart(w->name, w->data, tq_rows_bytes(w), "segments", s->segments,
                           bytes_of(s->n_segments, sizeof *s->segments)));
    const size_t words = s->tree == NULL || s->n_tree == 0 ? 0 : (s->n_tree - 1) / 64 + 1;
    return tq_check_apart(w->name, w->data, tq_rows_bytes(w), "tree", s->tree,
                          words == 0 ? 0 : bytes_of(s->n_queries, words * sizeof *s->tree));
}

/* Something written lies apart from everything that is read. */
static tq_status check_apart(const tq_attend_call *call, const tq_rows *w, const tq_rows *q) {
    const tq_attention_batch *b = &call->batch;
    const size_t bytes = tq_rows_bytes(w), heads = call->kind.heads * sizeof(float);
    TRY(tq_rows_check_apart(w, q));
    TRY(tq_check_apart(w->name, w->data, bytes, "sinks", b->sinks, b->sinks == NULL ? 0 : heads));
    TRY(tq_check_apart(w->name, w->data, bytes, "slopes", b->slopes, b->slopes == NULL ? 0 : heads));
    TRY(tq_check_apart(w->name, w->data, bytes, "sequences", b->sequences,
                       b->sequences == NULL ? 0 : bytes_of(b->n_sequences, sizeof *b->sequences)));
    TRY(tq_check_apart(w->name, w->data, bytes, "lengths", b->lengths,
                       b->lengths == NULL ? 0 : bytes_of(b->n_sequences, sizeof *b->lengths)));
    TRY(tq_check_apart(
        w->name, w->data, bytes, "centre_tables", b->centre_tables,
        b->centre_tables == NULL
            ? 0
            : bytes_of(b->n_sequences, b->centre_table_stride * sizeof *b->centre_tables)));
    TRY(tq_check_apart(w->name, w->data, bytes, "cu_seqlens", b->cu_seqlens,
                       b->cu_seqlens == NULL ? 0 : bytes_of(b->n_sequences + 1, sizeof *b->cu_seqlens)));
    for (size_t i = 0; i < b->n_sequences; i++) {
        tq_sequence s;
        tq_segment pooled;
        TRY(sequence_at(b, i, &s, &pooled));
        if (s.n_queries > 0) TRY(check_sequence_apart(call, w, &s));
    }
    return TQ_OK;
}

/* Outputs lie apart from what is read, from the workspace, and from each other. */
static tq_status check_outputs_apart(const tq_attend_call *call, const arrays *a,
                                     const tq_rows *workspace) {
    for (size_t i = 0; i < a->n_written; i++) {
        TRY(check_apart(call, a->written[i], &a->q));
        TRY(tq_rows_check_apart(a->written[i], workspace));
        for (size_t j = 0; j < i; j++)
            TRY(tq_rows_check_apart(a->written[i], a->written[j]));
    }
    return TQ_OK;
}

static tq_status check_row(const tq_attend_call *call, const tq_kernels *kernels, const tq_rows *q,
                           size_t at) {
    const size_t dim = q->length;
    float wide[TQ_MAX_DIM];
    const float *row = wide;
    if (call->kind.q_type == TQ_F32)
        row = (const float *)q->data + at;
    else
        tq_widen(kernels, call->kind.q_type, dim, (const uint16_t *)q->data + at, wide);
    if (tq_check_finite(kernels, "q", row, dim) == TQ_OK) return TQ_OK;
    const size_t index = at + (size_t)tq_last_error()->index;
    return tq_fail(TQ_E_NOT_FINITE, index, "q", "q[%zu] is not finite", index);
}

static tq_status check_queries(const tq_attend_call *call, const tq_kernels *kernels, const tq_rows *q) {
    const size_t all = q->heads * q->rows * q->length; /* whose bytes are there */
    if (call->kind.q_type == TQ_F32 && tq_rows_bytes(q) == all * q->size)
        return tq_check_finite(kernels, "q", q->data, all);
    const bool tokens_first = q->row_stride > q->head_stride;
    const size_t n_outer = tokens_first ? q->rows : q->heads, n_inner = tokens_first ? q->heads : q->rows;
    for (size_t outer = 0; outer < n_outer; outer++)
        for (size_t inner = 0; inner < n_inner; inner++)
            TRY(check_row(call, kernels, q,
                          tokens_first ? tq_rows_at(q, inner, outer) : tq_rows_at(q, outer, inner)));
    return TQ_OK;
}

static tq_status check_values(const tq_attend_call *call, const tq_kernels *kernels, const tq_rows *q) {
    const tq_attention_batch *b = &call->batch;
    const size_t heads = call->kind.heads;
    if (b->sinks != NULL && b->sum == NULL) TRY(tq_check_finite(kernels, "sinks", b->sinks, heads));
    if (b->slopes != NULL) TRY(tq_check_finite(kernels, "slopes", b->slopes, heads));
    return check_queries(call, kernels, q);
}

static tq_status fail_short(size_t wanted, size_t there) {
    return tq_fail(TQ_E_SIZE, wanted, "workspace", "workspace: %zu bytes are needed, %zu are there",
                   wanted, there);
}

/* Nothing is written to a workspace that is not surely one: neither if it is too small for the queries
 * alone, nor if it overlaps something. */
static tq_status check_workspace(const tq_attend_call *call, const totals *all, const void *workspace,
                                 size_t bytes) {
    size_t least, at, rows, wanted;
    TRY(tq_check_not_null("workspace", workspace));
    if ((uintptr_t)workspace % 64 != 0)
        return tq_fail(TQ_E_SIZE, 0, "workspace", "workspace is not aligned to 64 bytes");
    const bool fits = tq_attend_tables_place(all->sequences, all->segments, &least, &at) &&
                      tq_size_mul(call->kind.heads, all->tokens, &rows) &&
                      tq_size_place(&least, &at, rows, call->kind.k_dim * sizeof(float));
    if (fits && least <= bytes) return TQ_OK;
    TRY(tq_attend_call_size(call, &wanted));
    return fail_short(wanted, bytes);
}

static tq_attend_io io_of(const tq_attention_batch *b, const arrays *a) {
    return (tq_attend_io){.q = b->q,
                          .q_token = a->q.row_stride,
                          .q_head = a->q.head_stride,
                          .out = b->out,
                          .out_token = a->out.row_stride,
                          .out_head = a->out.head_stride,
                          .lse = b->lse,
                          .max = b->max,
                          .sum = b->sum,
                          .lse_token = b->sum != NULL ? a->sum.row_stride : a->lse.row_stride,
                          .lse_head = b->sum != NULL ? a->sum.head_stride : a->lse.head_stride,
                          .sinks = b->sinks,
                          .slopes = b->slopes};
}

tq_status tq_attend_call_run(tq_attend_call *call, void *workspace, size_t workspace_bytes) {
    const tq_attention_batch *b = &call->batch;
    tq_attend_batch batch = {.kind = &call->kind, .workspace = workspace, .sequences = workspace};
    totals all;
    arrays a;
    size_t wanted;
    TRY(tq_active_kernels(&batch.kernels));
    TRY(tq_check_parallel(b->parallel));
    TRY(count(call, &all));
    if (all.tokens == 0) return TQ_OK;
    TRY(take_arrays(call, all.tokens, &a));
    TRY(check_workspace(call, &all, workspace, workspace_bytes));
    const tq_rows space = {"workspace",     workspace,      1, workspace_bytes, 1, 1,
                           workspace_bytes, workspace_bytes};
    TRY(check_apart(call, &space, &a.q));
    TRY(take_sequences(call, &all, &batch, &wanted));
    TRY(check_outputs_apart(call, &a, &space));
    if (wanted > workspace_bytes) return fail_short(wanted, workspace_bytes);
    TRY(check_values(call, batch.kernels, &a.q));
    batch.n_sequences = all.sequences;
    batch.io = io_of(b, &a);
    tq_attend_run(&batch, b->parallel);
    return TQ_OK;
}
