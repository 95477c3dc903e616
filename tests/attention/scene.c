/* SPDX-License-Identifier: MIT
 * Inputs of one attention call: values drawn, stored as planned, and put where the plan wants them. */
#include "scene.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "half.h"
#include "support/cm.h"
#include "support/guard.h"

/* Rows of one array as contiguous bytes, [G][length][row_bytes], and where they go. */
typedef struct rows {
    const uint8_t *from;
    size_t row_bytes, unit; /* unit: of strides as the view counts them */
    size_t row_stride, head_stride, page_stride, page_bytes, bytes;
} rows;

/* Strides in bytes of `blocks` pages (1 without pages) that hold block_rows rows of G heads. */
static void arrange(rows *a, const side_plan *p, size_t heads, size_t blocks, size_t block_rows,
                    size_t gap) {
    const bool alone = p->layout == ALONE_LAST || p->layout == ALONE_FIRST;
    const size_t pitch = alone ? edge_page_size() : a->row_bytes + gap;
    a->row_stride = p->layout == BY_POSITION ? heads * pitch : pitch;
    a->head_stride = p->layout == BY_POSITION ? pitch : block_rows * pitch;
    a->page_stride = heads * block_rows * pitch + (alone ? 0 : gap);
    a->page_bytes = (heads - 1) * a->head_stride + (block_rows - 1) * a->row_stride + a->row_bytes;
    a->bytes = (blocks - 1) * a->page_stride + a->page_bytes;
}

static edge put(const rows *a, const tq_view *view, layout l, size_t heads, size_t length) {
    edge e = l == ALONE_FIRST ? edge_new_front(a->bytes) : edge_new(a->bytes);
    const size_t memory_page = edge_page_size();
    bool *used = calloc(e.map_bytes / memory_page + 1, sizeof *used);
    assert_non_null(used);
    for (size_t g = 0; g < heads; g++)
        for (size_t i = 0; i < length; i++) {
            size_t row = (view->ring_start + i) % view->capacity, at = g * a->head_stride;
            if (view->pages != NULL) {
                at += (size_t)view->pages[row / view->page_rows] * a->page_stride;
                row %= view->page_rows;
            }
            uint8_t *to = e.data + at + row * a->row_stride;
            memcpy(to, a->from + (g * length + i) * a->row_bytes, a->row_bytes);
            used[(size_t)(to - e.map) / memory_page] = true;
        }
    if (l == ALONE_LAST || l == ALONE_FIRST) edge_close_pages(&e, used);
    free(used);
    return e;
}

static void shuffle(int32_t *x, size_t n, rng *r) {
    for (size_t i = n; i > 1; i--) {
        const size_t j = rng_below(r, (uint32_t)i);
        const int32_t kept = x[i - 1];
        x[i - 1] = x[j];
        x[j] = kept;
    }
}

/* A block table in random order into a pool that has pages to spare. */
static void place_pages(side *s, tq_view *view, size_t page_rows, rng *r) {
    if (page_rows == 0) return;
    view->page_rows = page_rows;
    view->n_pages = (view->capacity + page_rows - 1) / page_rows;
    view->pool_pages = view->n_pages + rng_below(r, (uint32_t)view->n_pages + 2);
    int32_t *all = test_alloc(view->pool_pages * sizeof *all);
    for (size_t i = 0; i < view->pool_pages; i++)
        all[i] = (int32_t)i;
    shuffle(all, view->pool_pages, r);
    s->pages = edge_new(view->n_pages * sizeof *all);
    memcpy(s->pages.data, all, s->pages.size);
    view->pages = (const int32_t *)(const void *)s->pages.data;
    free(all);
}

/* Addresses of an array's pages, in the order of the block table. */
static const void *addresses(edge *e, const tq_view *view, const uint8_t *data, size_t page_stride) {
    *e = edge_new(view->n_pages * sizeof(void *));
    for (size_t i = 0; i < view->n_pages; i++) {
        const void *page = data + (size_t)view->pages[i] * page_stride;
        memcpy(e->data + i * sizeof page, &page, sizeof page);
    }
    return e->data;
}

/* Pages as blocks that lie anywhere. */
static void scatter(side *s, tq_view *view, const rows *data, const rows *norms) {
    view->blocks = addresses(&s->blocks, view, s->data.data, data->page_stride);
    view->data = NULL;
    view->data_bytes = data->page_bytes;
    view->page_stride = 0;
    if (norms != NULL) {
        view->norm_blocks = addresses(&s->norm_blocks, view, s->norms.data, norms->page_stride);
        view->norms = NULL;
        view->n_norms = norms->page_bytes;
        view->norm_page_stride = 0;
    }
    view->pages = NULL;
    view->pool_pages = 0;
}

/* Puts codes or values, and norms if there are any, and makes the view of them. */
static void place(side *s, tq_view *view, const side_plan *p, size_t heads, size_t length, rows *data,
                  rows *norms, rng *r) {
    view->capacity = length + p->spare == 0 ? 1 : length + p->spare;
    view->ring_start = p->ring_start % view->capacity;
    place_pages(s, view, p->page_rows, r);
    const size_t blocks = view->pages == NULL ? 1 : view->pool_pages;
    const size_t block_rows = view->pages == NULL ? view->capacity : p->page_rows;
    /* Strides that are what 0 stands for are written as 0 half of the time. */
    const bool implied = p->layout == BY_HEAD && p->gap == 0 && rng_below(r, 2) == 0;
    const bool pages_implied =
        view->pages == NULL || (p->layout <= BY_POSITION && p->gap == 0 && rng_below(r, 2) == 0);
    arrange(data, p, heads, blocks, block_rows, p->gap * data->unit);
    s->data = put(data, view, p->layout, heads, length);
    view->data = s->data.data;
    view->data_bytes = data->bytes;
    view->row_stride = implied ? 0 : data->row_stride;
    view->head_stride = implied ? 0 : data->head_stride;
    view->page_stride = pages_implied ? 0 : data->page_stride;
    if (view->store != TQ_STORE_CODES) {
        if (view->pages != NULL && p->blocks) scatter(s, view, data, NULL);
        return;
    }
    arrange(norms, p, heads, blocks, block_rows, p->gap * norms->unit);
    s->norms = put(norms, view, p->layout, heads, length);
    view->norms = s->norms.data;
    view->n_norms = norms->bytes;
    view->norm_row_stride = implied ? 0 : norms->row_stride;
    view->norm_head_stride = implied ? 0 : norms->head_stride;
    view->norm_page_stride = pages_implied ? 0 : norms->page_stride;
    if (view->pages != NULL && p->blocks) scatter(s, view, data, norms);
}

/* A vector's codes, and what they say: in the rotated domain with the rotated centre. */
static void code_vector(const scene *s, const tq_codec *codec, const float *x, const uint16_t *centre,
                        uint8_t *code, size_t code_bytes, uint8_t *norm, size_t norm_bytes,
                        double *values) {
    const size_t dim = codec->head_dim;
    const tq_batch one = {.heads = 1, .rows = 1};
    float *y = test_alloc(dim * sizeof *y), *c = calloc(dim, sizeof *c), *turned = calloc(dim, sizeof *c);
    assert_true(c != NULL && turned != NULL);
    assert_int_equal(tq_encode(codec, &one, x, dim, centre, centre == NULL ? 0 : dim, code, code_bytes,
                               norm, norm_bytes),
                     TQ_OK);
    assert_int_equal(
        tq_decode(codec, &one, s->params.domain, code, code_bytes, norm, norm_bytes, NULL, 0, y, dim),
        TQ_OK);
    for (size_t i = 0; i < dim && centre != NULL; i++)
        c[i] = (float)half_to(centre[i]);
    if (s->params.domain == TQ_ROTATED)
        assert_int_equal(tq_rotate(codec, TQ_ROTATED, 1, c, turned), TQ_OK);
    for (size_t i = 0; i < dim; i++)
        values[i] = (double)y[i] + (double)(s->params.domain == TQ_ROTATED ? turned : c)[i];
    free(y);
    free(c);
    free(turned);
}

/* segment: whose keys these are; MOST_SEGMENTS: values, without a centre. */
static void store_codes(scene *s, side *to, tq_view *view, const side_plan *p, const float *x,
                        size_t segment, size_t length, rng *r) {
    size_t code_bytes, norm_bytes;
    const size_t heads = s->params.n_kv_heads, dim = view->codec.head_dim;
    const bool v1 = TQ_IS_V1(p->format);
    view->codec.format = p->format;
    view->codec.scale_factor_d512 = p->scale_factor;
    view->codec.norm_rule = v1 ? TQ_NORM_PLAIN : (tq_norm_rule)rng_below(r, 4);
    assert_int_equal(tq_row_size(&view->codec, &code_bytes, &norm_bytes), TQ_OK);
    uint8_t *codes = test_alloc(heads * length * code_bytes);
    uint8_t *norms = test_alloc(heads * length * norm_bytes);
    for (size_t i = 0; i < heads * length; i++)
        code_vector(s, &view->codec, x + i * dim,
                    segment == MOST_SEGMENTS ? NULL : scene_centre(s, segment, i / length, i % length),
                    codes + i * code_bytes, code_bytes, norms + i * norm_bytes, norm_bytes,
                    to->values + i * dim);
    rows data = {.from = codes, .row_bytes = code_bytes, .unit = 1};
    rows scales = {.from = norms, .row_bytes = norm_bytes, .unit = 1};
    place(to, view, p, heads, length, &data, &scales, r);
    free(codes);
    free(norms);
}

static void store_values(scene *s, side *to, tq_view *view, const side_plan *p, const float *x,
                         size_t length, rng *r) {
    const size_t heads = s->params.n_kv_heads, dim = view->codec.head_dim, n = heads * length * dim;
    const bool half = p->store != TQ_STORE_F32, brain = p->store == TQ_STORE_BF16;
    uint16_t *halves = test_alloc(n * sizeof *halves);
    for (size_t i = 0; i < n; i++) {
        halves[i] = brain ? bf16_from(x[i]) : half_from((double)x[i]);
        to->values[i] = !half ? (double)x[i] : brain ? bf16_to(halves[i]) : half_to(halves[i]);
    }
    const size_t unit = half ? sizeof *halves : sizeof *x;
    rows data = {.from = half ? (const uint8_t *)halves : (const uint8_t *)x,
                 .row_bytes = dim * unit,
                 .unit = unit};
    place(to, view, p, heads, length, &data, NULL, r);
    free(halves);
}

/* Draws the vectors of a side around the centres, if there are any, and stores them. */
static void fill_side(scene *s, side *to, tq_view *view, const side_plan *p, size_t segment, size_t dim,
                      size_t length, rng *r) {
    const size_t n = s->params.n_kv_heads * length * dim;
    float *x = test_alloc(n * sizeof *x);
    rng_gauss_fill(r, x, n);
    for (size_t i = 0; i < n && view->centre != NULL; i++)
        x[i] += (float)half_to(scene_centre(s, segment, i / (length * dim), i / dim % length)[i % dim]);
    to->values = test_alloc(n * sizeof *to->values);
    view->store = p->store;
    view->domain = p->store == TQ_STORE_CODES ? TQ_ORIGINAL : s->params.domain;
    view->codec.head_dim = (uint32_t)dim;
    if (p->store == TQ_STORE_CODES)
        store_codes(s, to, view, p, x, segment, length, r);
    else
        store_values(s, to, view, p, x, length, r);
    free(x);
}

const uint16_t *scene_centre(const scene *s, size_t segment, size_t g, size_t i) {
    if (segment >= MOST_SEGMENTS) return NULL; /* of values */
    const tq_view *v = &s->segments[segment].k;
    const uint64_t position = s->segments[segment].first_position + i;
    if (v->centre == NULL) return NULL;
    uint64_t number = v->centre_stretch == 0 ? 0 : position / v->centre_stretch;
    number = v->centre_table == NULL ? number % v->n_centres
                                     : (uint64_t)v->centre_table[number % v->n_centre_table];
    return v->centre + (number * s->params.n_kv_heads + g) * s->params.head_dim;
}

/* Entries of other stretches are not looked at: they are of no centre. */
static void draw_table(scene *s, size_t i, uint64_t first, size_t stretches, rng *r) {
    tq_view *v = &s->segments[i].k;
    v->n_centre_table = v->centre_stretch == 0 ? 1 : stretches + rng_below(r, 3);
    s->tables[i] = edge_new(v->n_centre_table * sizeof(int32_t));
    int32_t *table = (int32_t *)(void *)s->tables[i].data;
    for (size_t j = 0; j < v->n_centre_table; j++)
        table[j] = j % 2 == 0 ? -1 : INT32_MAX;
    for (size_t j = 0; j < stretches; j++) /* two may have the same */
        table[(first + j) % v->n_centre_table] = (int32_t)rng_below(r, (uint32_t)v->n_centres);
    v->centre_table = table;
}

/* Centres of a segment's stretches, in a ring of as many or more, or through a table; the others are NaN.
 */
static void draw_centres(scene *s, size_t i, const scene_plan *plan, rng *r) {
    const segment_plan *g = &plan->segment[i];
    tq_view *v = &s->segments[i].k;
    const size_t row = s->params.n_kv_heads * s->params.head_dim, l = plan->stretch;
    const uint64_t first = l == 0 ? 0 : g->first_position / l;
    const size_t stretches =
        l == 0 || g->length == 0 ? 1 : (size_t)((g->first_position + g->length - 1) / l - first) + 1;
    v->n_centres = l == 0 && !plan->centre_table ? 1 : stretches + rng_below(r, 3);
    v->centre_stretch = l;
    if (plan->centre_table) draw_table(s, i, first, stretches, r);
    s->centres[i] = edge_new(v->n_centres * row * sizeof(uint16_t));
    uint16_t *centre = (uint16_t *)(void *)s->centres[i].data;
    for (size_t j = 0; j < v->n_centres * row; j++)
        centre[j] = 0x7E00;
    v->centre = centre;
    for (size_t j = 0; j < g->length; j++) {
        uint16_t *at = centre + (scene_centre(s, i, 0, j) - centre);
        for (size_t k = 0; k < row && at[0] == 0x7E00; k++)
            at[row - 1 - k] = half_from(rng_gauss(r));
    }
}

static const float *drawn(edge *e, size_t n, double spread, rng *r) {
    *e = edge_new(n * sizeof(float));
    float *x = (float *)(void *)e->data;
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(spread * rng_gauss(r));
    return x;
}

void scene_open(scene *s, const scene_plan *plan, rng *r) {
    memset(s, 0, sizeof *s);
    tq_attention_params *p = &s->params;
    p->size = sizeof *p;
    p->n_heads = plan->n_heads;
    p->n_kv_heads = plan->n_kv_heads;
    p->head_dim = plan->head_dim;
    p->v_head_dim = plan->v_head_dim;
    p->n_queries = plan->n_queries;
    p->domain = plan->domain;
    p->bidirectional = 1;
    p->scale = (float)(1 / sqrt(plan->head_dim));
    p->arithmetic = TQ_ARITHMETIC_FLOAT; /* whose bound the model knows */
    s->q = drawn(&s->q_memory, scene_rows(s) * p->head_dim, plan->spread, r);
    if (plan->sinks) p->sinks = drawn(&s->sinks, p->n_heads, 2, r);
    if (plan->slopes) p->slopes = drawn(&s->slopes, p->n_heads, 0.05, r);
    s->n_segments = plan->n_segments;
    for (size_t i = 0; i < plan->n_segments; i++) {
        const segment_plan *g = &plan->segment[i];
        s->segments[i].length = g->length;
        s->segments[i].first_position = g->first_position;
        const bool again = i == 1 && plan->stretch == 0 && s->segments[0].k.centre != NULL &&
                           s->segments[0].length > 0 && !plan->centre_table;
        if (plan->centre && g->k.store == TQ_STORE_CODES && !again) draw_centres(s, i, plan, r);
        if (plan->centre && g->k.store == TQ_STORE_CODES && again) { /* neighbours may share one */
            s->segments[1].k.centre = s->segments[0].k.centre;
            s->segments[1].k.n_centres = s->segments[0].k.n_centres;
        }
        fill_side(s, &s->k[i], &s->segments[i].k, &g->k, i, p->head_dim, g->length, r);
        fill_side(s, &s->v[i], &s->segments[i].v, &g->v, MOST_SEGMENTS, scene_v_dim(s), g->length, r);
    }
}

static void side_close(side *s) {
    edge_free(&s->data);
    edge_free(&s->norms);
    edge_free(&s->pages);
    edge_free(&s->blocks);
    edge_free(&s->norm_blocks);
    free(s->values);
}

void scene_close(scene *s) {
    for (size_t i = 0; i < s->n_segments; i++) {
        side_close(&s->k[i]);
        side_close(&s->v[i]);
        edge_free(&s->centres[i]);
        edge_free(&s->tables[i]);
    }
    edge_free(&s->q_memory);
    edge_free(&s->sinks);
    edge_free(&s->slopes);
    memset(s, 0, sizeof *s);
}

size_t scene_rows(const scene *s) {
    return s->params.n_heads * s->params.n_queries;
}

size_t scene_v_dim(const scene *s) {
    return s->params.v_head_dim == 0 ? s->params.head_dim : s->params.v_head_dim;
}
