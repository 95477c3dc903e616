/* SPDX-License-Identifier: MIT
 * Views: checked once, then read in runs of slots that lie evenly. */
#include "attention/reader.h"

#include <assert.h>
#include <string.h>

#include "base/size.h"

static tq_status check_store(tq_view_reader *s, uint32_t head_dim) {
    const tq_view *v = &s->view;
    if (v->codec.head_dim != head_dim)
        return tq_fail(TQ_E_HEAD_DIM, 0, s->name, "%s: the view has head_dim %u, the call %u", s->name,
                       v->codec.head_dim, head_dim);
    s->dim = head_dim;
    if (v->store == TQ_STORE_CODES) {
        tq_status status = tq_plan_init(&s->plan, &v->codec);
        if (status == TQ_OK) status = tq_plan_check_scale_factor(&s->plan, v->codec.scale_factor_d512);
        s->row_bytes = s->plan.row_bytes;
        return status;
    }
    if (v->domain != TQ_ORIGINAL && v->domain != TQ_ROTATED)
        return tq_fail(TQ_E_DOMAIN, 0, s->name, "%s: domain %d is neither TQ_ORIGINAL nor TQ_ROTATED",
                       s->name, (int)v->domain);
    if (v->store != TQ_STORE_F32 && v->store != TQ_STORE_F16 && v->store != TQ_STORE_BF16)
        return tq_fail(TQ_E_FORMAT, 0, s->name,
                       "%s: store %d is none of codes, float32, float16 and bfloat16", s->name,
                       (int)v->store);
    s->row_bytes = s->dim * (v->store == TQ_STORE_F32 ? sizeof(float) : sizeof(uint16_t));
    return TQ_OK;
}

static tq_status check_pages(const tq_view_reader *s) {
    const tq_view *v = &s->view;
    for (size_t i = 0; i <= (v->capacity - 1) / v->page_rows; i++)
        if (v->pages[i] < 0 || (size_t)v->pages[i] >= v->pool_pages)
            return tq_fail(TQ_E_POSITION, i, s->name, "%s: pages[%zu] is %d, the pool holds %zu", s->name,
                           i, (int)v->pages[i], v->pool_pages);
    return TQ_OK;
}

static tq_status check_blocks(const tq_view_reader *s) {
    const tq_view *v = &s->view;
    if (tq_view_is_encoded(s) && v->norm_blocks == NULL)
        return tq_fail(TQ_E_NULL, 0, s->name, "%s: norm_blocks is NULL", s->name);
    for (size_t i = 0; i <= (v->capacity - 1) / v->page_rows; i++)
        if (v->blocks[i] == NULL || (tq_view_is_encoded(s) && v->norm_blocks[i] == NULL))
            return tq_fail(TQ_E_NULL, i, s->name, "%s: block %zu is NULL", s->name, i);
    return TQ_OK;
}

static tq_status check_positions(const tq_view_reader *s) {
    const tq_view *v = &s->view;
    const size_t length = s->length;
    if (v->capacity == 0 || length > v->capacity)
        return tq_fail(TQ_E_POSITION, length, s->name, "%s: %zu positions in a capacity of %zu", s->name,
                       length, v->capacity);
    if (v->ring_start >= v->capacity)
        return tq_fail(TQ_E_POSITION, v->ring_start, s->name, "%s: ring_start %zu, capacity %zu", s->name,
                       v->ring_start, v->capacity);
    if (v->pages != NULL && v->blocks != NULL)
        return tq_fail(TQ_E_POSITION, 0, s->name, "%s: pages and blocks: it must be one of them",
                       s->name);
    if (v->pages == NULL && v->blocks == NULL) return TQ_OK;
    if (v->page_rows == 0 || (v->capacity - 1) / v->page_rows >= v->n_pages)
        return tq_fail(TQ_E_POSITION, v->n_pages, s->name,
                       "%s: %zu pages of %zu positions for a capacity of %zu", s->name, v->n_pages,
                       v->page_rows, v->capacity);
    return v->pages != NULL ? check_pages(s) : check_blocks(s);
}

/* An array of pieces: rows in heads in pages, the strides of which may be 0 for side by side. */
typedef struct extent {
    size_t length, rows, heads, pages;
    size_t *row_stride, *head_stride, *page_stride;
} extent;

/* Fills the strides in, and checks that pages do not overlap and the last piece ends within n elements.
 */
static tq_status check_extent(const char *name, extent e, size_t n) {
    size_t end = e.length;
    if (*e.row_stride == 0) *e.row_stride = e.length;
    const bool sized = (*e.head_stride != 0 || tq_size_mul(e.rows, *e.row_stride, e.head_stride)) &&
                       (*e.page_stride != 0 ||
                        tq_size_page(e.heads, *e.head_stride, e.rows, *e.row_stride, e.page_stride)) &&
                       tq_size_reach(&end, e.rows, *e.row_stride) &&
                       tq_size_reach(&end, e.heads, *e.head_stride);
    const size_t page = end;
    if (!sized || !tq_size_reach(&end, e.pages, *e.page_stride))
        return tq_fail(TQ_E_OVERFLOW, 0, name, "%s: %zu rows of %zu heads do not fit in memory", name,
                       e.rows, e.heads);
    if ((e.rows > 1 && *e.row_stride < e.length) || (e.heads > 1 && *e.head_stride < e.length))
        return tq_fail(TQ_E_STRIDE, 0, name, "%s: a stride is shorter than a row of %zu", name, e.length);
    if (e.pages > 1 && *e.page_stride < page)
        return tq_fail(TQ_E_STRIDE, *e.page_stride, name, "%s: pages of %zu bytes are %zu apart", name,
                       page, *e.page_stride);
    if (end > n)
        return tq_fail(TQ_E_SIZE, end, name, "%s: %zu bytes are needed, %zu are there", name, end, n);
    return TQ_OK;
}

/* Stretches of a segment, from `first` on. */
static uint64_t stretches_of(const tq_view_reader *s, uint64_t *first) {
    const size_t stretch = s->view.centre_stretch;
    *first = tq_stretch_of(s->first_position, stretch);
    return tq_stretch_of(s->first_position + (s->length - 1), stretch) - *first + 1;
}

/* Number of a stretch's centre: one for all is the first of them. */
static size_t centre_number(const tq_view *v, uint64_t stretch) {
    if (v->centre_table == NULL) return (size_t)(stretch % v->n_centres);
    return (size_t)v->centre_table[stretch % v->n_centre_table];
}

static tq_status check_centre(const tq_view_reader *s) {
    const tq_view *v = &s->view;
    const char *name = s->name;
    const size_t there = v->centre_table == NULL ? v->n_centres : v->n_centre_table;
    uint64_t first;
    if (v->n_centres == 0 || there == 0)
        return tq_fail(TQ_E_SIZE, 0, name, "%s: there is a centre, but %s is 0", name,
                       v->n_centres == 0 ? "n_centres" : "n_centre_table");
    TRY(tq_check_product(name, v->n_centres, s->heads * s->dim, sizeof *v->centre, NULL));
    if (v->centre_stretch == 0 && there > 1)
        return tq_fail(
            TQ_E_POSITION, there, name,
            "%s: %zu centres, and centre_stretch is 0: one is for all then, or it was forgotten", name,
            there);
    const uint64_t stretches = stretches_of(s, &first);
    if (stretches > there)
        return tq_fail(TQ_E_POSITION, there, name,
                       "%s: %zu centres for the %llu stretches of %zu positions that the segment has",
                       name, there, (unsigned long long)stretches, v->centre_stretch);
    for (uint64_t i = first; v->centre_table != NULL && i < first + stretches; i++) {
        const int32_t entry = v->centre_table[i % v->n_centre_table];
        if (entry < 0 || (size_t)entry >= v->n_centres)
            return tq_fail(TQ_E_POSITION, i % v->n_centre_table, name,
                           "%s: centre_table[%llu] is %d, there are %zu centres", name,
                           (unsigned long long)(i % v->n_centre_table), (int)entry, v->n_centres);
    }
    return TQ_OK;
}

const uint16_t *tq_view_centre(const tq_view_reader *s, size_t head, size_t position, size_t *n) {
    const tq_view *v = &s->view;
    const uint64_t at = s->first_position + position;
    if (v->centre == NULL) return NULL;
    if (v->centre_stretch != 0 && v->centre_stretch - at % v->centre_stretch < *n)
        *n = v->centre_stretch - (size_t)(at % v->centre_stretch);
    const size_t number = centre_number(v, tq_stretch_of(at, v->centre_stretch));
    return v->centre + (number * s->heads + head) * s->dim;
}

tq_status tq_view_reader_init(tq_view_reader *s, const char *name, const tq_view *view, size_t n_kv_heads,
                              const tq_segment *segment, uint32_t head_dim) {
    *s = (tq_view_reader){.view = *view,
                          .heads = n_kv_heads,
                          .length = segment->length,
                          .first_position = segment->first_position,
                          .name = name};
    if (view->pages == NULL) s->view.pool_pages = 1;
    if (view->pages == NULL && view->blocks == NULL) s->view.page_rows = view->capacity;
    tq_status status = check_store(s, head_dim);
    if (status == TQ_OK) status = check_positions(s);
    if (status != TQ_OK) return status;
    tq_view *v = &s->view;
    if (v->pool_pages == 0) v->pool_pages = 1; /* a table without entries needs none */
    status = check_extent(name,
                          (extent){s->row_bytes, v->page_rows, n_kv_heads, v->pool_pages, &v->row_stride,
                                   &v->head_stride, &v->page_stride},
                          v->data_bytes);
    if (status == TQ_OK && v->blocks == NULL && v->data == NULL)
        status = tq_fail(TQ_E_NULL, 0, name, "%s: data is NULL", name);
    if (status != TQ_OK || !tq_view_is_encoded(s)) return status;
    status = check_extent(name,
                          (extent){s->plan.norm_bytes, v->page_rows, n_kv_heads, v->pool_pages,
                                   &v->norm_row_stride, &v->norm_head_stride, &v->norm_page_stride},
                          v->n_norms);
    if (status == TQ_OK && v->blocks == NULL && v->norms == NULL)
        status = tq_fail(TQ_E_NULL, 0, name, "%s: norms is NULL", name);
    return status == TQ_OK && v->centre != NULL ? check_centre(s) : status;
}

/* Positions in turn, by runs of rows that lie evenly. */
typedef struct walk {
    const tq_view *view;
    size_t slot, entry, row; /* entry: of the page table */
} walk;

/* A run of rows. */
typedef struct place {
    size_t page, row, run;
} place;

static walk walk_from(const tq_view *v, size_t position) {
    const size_t slot = (v->ring_start + position) % v->capacity;
    return (walk){v, slot, slot / v->page_rows, slot % v->page_rows};
}

/* The next run, of n rows at most. */
static place walk_on(walk *w, size_t n) {
    const tq_view *v = w->view;
    const size_t to_wrap = v->capacity - w->slot, to_page_end = v->page_rows - w->row;
    place at = {v->pages != NULL ? (size_t)v->pages[w->entry] : w->entry, w->row,
                to_wrap < to_page_end ? to_wrap : to_page_end};
    if (at.run > n) at.run = n;
    w->slot += at.run;
    w->row += at.run;
    if (w->slot == v->capacity) {
        *w = (walk){v, 0, 0, 0};
    } else if (w->row == v->page_rows) {
        w->entry++;
        w->row = 0;
    }
    return at;
}

static const uint8_t *data_at(const tq_view_reader *s, size_t head, place at) {
    const tq_view *v = &s->view;
    const uint8_t *page =
        v->blocks != NULL ? v->blocks[at.page] : (const uint8_t *)v->data + at.page * v->page_stride;
    return page + head * v->head_stride + at.row * v->row_stride;
}

static const uint8_t *norms_at(const tq_view_reader *s, size_t head, place at) {
    const tq_view *v = &s->view;
    const uint8_t *page = v->blocks != NULL ? v->norm_blocks[at.page]
                                            : (const uint8_t *)v->norms + at.page * v->norm_page_stride;
    return page + head * v->norm_head_stride + at.row * v->norm_row_stride;
}

static void fill_even(tq_view_offsets *offsets, size_t stride) {
    enum { MOST = sizeof offsets->of / sizeof *offsets->of };
    offsets->stride = stride;
    for (size_t i = 0; i < MOST; i++)
        offsets->of[i] = i * stride;
}

tq_code_rows tq_view_rows(const tq_view_reader *s, size_t head, size_t first, size_t n,
                          tq_view_offsets *offsets) {
    const size_t wanted = n + TQ_ROWS_AHEAD, left = s->length - first;
    const size_t there = left < wanted ? left : wanted, stride = s->view.row_stride;
    walk w = walk_from(&s->view, first);
    place at = walk_on(&w, there);
    const uint8_t *base = data_at(s, head, at);
    assert(n <= TQ_ATTEND_CHUNK);
    if (at.run == there && n % 4 == 0) {
        if (offsets->stride != stride) fill_even(offsets, stride);
        return (tq_code_rows){base, offsets->of};
    }
    offsets->stride = 0;
    for (size_t done = 0;;) {
        const uintptr_t row = (uintptr_t)data_at(s, head, at) - (uintptr_t)base;
        for (size_t i = 0; i < at.run; i++)
            offsets->of[done + i] = row + i * stride;
        done += at.run;
        if (done == there) break;
        at = walk_on(&w, there - done);
    }
    for (size_t i = there; i < wanted; i++)
        offsets->of[i] = offsets->of[there - 1];
    for (size_t i = n; i % 4 != 0; i++) /* what fills a four is read: not what nobody sees */
        offsets->of[i] = offsets->of[n - 1];
    return (tq_code_rows){base, offsets->of};
}

/* Norms of a run, side by side. */
static void copy_norms(uint8_t *to, const uint8_t *norms, size_t n, size_t bytes, size_t stride) {
    if (bytes == stride) {
        memcpy(to, norms, n * bytes);
        return;
    }
    for (size_t i = 0; i < n; i++)
        memcpy(to + i * bytes, norms + i * stride, bytes);
}

void tq_view_scales(const tq_view_reader *s, const tq_kernels *kernels, size_t head, size_t first,
                    size_t n, float *scales) {
    enum { BYTES = sizeof(float) };
    const size_t bytes = s->plan.norm_bytes, stride = s->view.norm_row_stride;
    uint8_t together[TQ_ATTEND_CHUNK * BYTES];
    walk w = walk_from(&s->view, first);
    place at = walk_on(&w, n);
    assert(n <= TQ_ATTEND_CHUNK && bytes <= BYTES);
    if (at.run == n) {
        tq_load_scales(kernels, &s->plan, n, norms_at(s, head, at), stride, 0, scales);
        return;
    }
    for (size_t done = 0;;) {
        copy_norms(together + done * bytes, norms_at(s, head, at), at.run, bytes, stride);
        done += at.run;
        if (done == n) break;
        at = walk_on(&w, n - done);
    }
    tq_load_scales(kernels, &s->plan, n, together, bytes, 0, scales);
}

/* Codes with one scale a row are used as they lie; other vectors are brought to a tile of float32 first,
 * half of a first-level cache of 32 KiB. */
enum { TILE_VALUES = 4096, CHUNK = TQ_ATTEND_CHUNK };

static bool lies_ready(const tq_view_reader *s) {
    return tq_view_is_encoded(s) && s->plan.n_norms == 1;
}

/* The next run as float32 rows side by side, of n rows and of a tile at most: in place where it is that
 * already, else in the tile. */
static place decode_run(const tq_view_reader *s, const tq_kernels *kernels, size_t head, walk *w,
                        size_t n, float *tile, const float **rows) {
    const size_t most = TILE_VALUES / s->dim;
    const place at = walk_on(w, n < most ? n : most);
    const tq_view *v = &s->view;
    const uint8_t *data = data_at(s, head, at);
    float *row = tile;
    *rows = tile;
    if (v->store == TQ_STORE_F32 && v->row_stride == s->row_bytes && (uintptr_t)data % sizeof *row == 0) {
        *rows = (const float *)(const void *)data;
        return at;
    }
    if (tq_view_is_encoded(s)) {
        const tq_row_set set = {at.run, s->dim, v->row_stride, v->norm_row_stride};
        tq_decode_rows(kernels, &s->plan, &set, TQ_ROTATED, data, norms_at(s, head, at), NULL, tile,
                       false);
        return at;
    }
    const tq_type type = v->store == TQ_STORE_F32 ? TQ_F32 : v->store == TQ_STORE_F16 ? TQ_F16 : TQ_BF16;
    const bool even = v->row_stride == s->row_bytes; /* then rows are as one */
    const size_t values = even ? s->dim * at.run : s->dim;
    for (size_t i = 0; i < (even ? 1 : at.run); i++, data += v->row_stride, row += s->dim)
        tq_widen(kernels, type, values, data, row);
    return at;
}

static void scale_rows(const tq_view_reader *s, const tq_kernels *kernels, size_t head, size_t first,
                       size_t n, size_t rows, float *x, size_t n_stride) {
    float scales[CHUNK + TQ_LANES];
    tq_view_scales(s, kernels, head, first, n, scales);
    for (size_t r = 0; r < rows; r++)
        kernels->multiply(n, scales, x + r * n_stride);
}

void tq_view_score(const tq_view_reader *s, const tq_kernels *kernels, size_t head, size_t first,
                   size_t n, tq_view_offsets *offsets, size_t rows, const float *queries, float *scores,
                   size_t n_stride) {
    if (lies_ready(s)) {
        const tq_code_rows packed = tq_view_rows(s, head, first, n, offsets);
        kernels->score_codes(s->plan.book, s->dim, rows, queries, n, packed, scores, n_stride);
        scale_rows(s, kernels, head, first, n, rows, scores, n_stride);
        return;
    }
    _Alignas(64) float tile[TILE_VALUES];
    walk w = walk_from(&s->view, first);
    for (size_t run; n > 0; n -= run, scores += run) {
        const float *x;
        run = decode_run(s, kernels, head, &w, n, tile, &x).run;
        kernels->score(s->dim, rows, queries, run, x, scores, n_stride);
    }
}

void tq_view_accumulate(const tq_view_reader *s, const tq_kernels *kernels, size_t head, size_t first,
                        size_t n, tq_view_offsets *offsets, size_t rows, float *weights, size_t n_stride,
                        float *acc, size_t acc_stride) {
    if (lies_ready(s)) {
        const tq_code_rows packed = tq_view_rows(s, head, first, n, offsets);
        scale_rows(s, kernels, head, first, n, rows, weights, n_stride);
        kernels->accumulate_codes(s->plan.book, s->dim, rows, weights, n_stride, n, packed, acc,
                                  acc_stride);
        return;
    }
    _Alignas(64) float tile[TILE_VALUES];
    walk w = walk_from(&s->view, first);
    for (size_t run; n > 0; n -= run, weights += run) {
        const float *x;
        run = decode_run(s, kernels, head, &w, n, tile, &x).run;
        kernels->accumulate(s->dim, rows, weights, n_stride, run, x, acc, acc_stride);
    }
}

void tq_view_score_digits(const tq_view_reader *s, const tq_kernels *kernels, size_t head, size_t first,
                          size_t n, tq_view_offsets *offsets, size_t rows, const void *queries,
                          size_t query_stride, float *scores, size_t n_stride) {
    const tq_code_rows packed = tq_view_rows(s, head, first, n, offsets);
    kernels->score_digits(s->plan.book, s->dim, rows, queries, query_stride, n, packed, scores, n_stride);
    scale_rows(s, kernels, head, first, n, rows, scores, n_stride);
}
