/* SPDX-License-Identifier: MIT
 * A cache against its model. */
#include "check.h"

#include <string.h>

#include "broken.h"

typedef unsigned long long ull;

static size_t or_else(size_t stride, size_t side_by_side) {
    return stride == 0 ? side_by_side : stride;
}

/* Byte (head, slot) of an array of a view; fails unless `length` bytes lie within `size`. */
static size_t place(const tq_view *v, size_t heads, size_t head, size_t slot, size_t length,
                    size_t row_stride, size_t head_stride, size_t page_stride, size_t size) {
    const size_t rows = v->pages == NULL && v->blocks == NULL ? v->capacity : v->page_rows;
    const size_t row = or_else(row_stride, length), per_head = or_else(head_stride, rows * row);
    size_t at = head * per_head + slot % rows * row;
    if ((v->pages != NULL || v->blocks != NULL) && slot / rows >= v->n_pages)
        broken("slot %zu lies beyond %zu pages", slot, v->n_pages);
    if (v->pages != NULL) {
        if (v->pages[slot / rows] < 0 || (size_t)v->pages[slot / rows] >= v->pool_pages)
            broken("no page %d", (int)v->pages[slot / rows]);
        at += (size_t)v->pages[slot / rows] * or_else(page_stride, heads * per_head);
    }
    if (at > size || length > size - at)
        broken("slot %zu of head %zu lies at %zu of %zu", slot, head, at, size);
    return at;
}

static const uint8_t *data_at(const tq_view *v, size_t heads, size_t head, size_t slot, size_t bytes) {
    const size_t at =
        place(v, heads, head, slot, bytes, v->row_stride, v->head_stride, v->page_stride, v->data_bytes);
    return (const uint8_t *)(v->blocks != NULL ? v->blocks[slot / v->page_rows] : v->data) + at;
}

static const uint8_t *norms_at(const tq_view *v, size_t heads, size_t head, size_t slot, size_t bytes) {
    const size_t at = place(v, heads, head, slot, bytes, v->norm_row_stride, v->norm_head_stride,
                            v->norm_page_stride, v->n_norms);
    return (const uint8_t *)(v->blocks != NULL ? v->norm_blocks[slot / v->page_rows] : v->norms) + at;
}

static void same(const char *what, uint64_t position, size_t head, const void *got, const void *want,
                 size_t bytes) {
    if (memcmp(got, want, bytes) != 0)
        broken("%s of position %llu, head %zu differ", what, (ull)position, head);
}

static void check_store(const lane *l, const tq_view *v, tq_store store, size_t n) {
    if (v->store != store) broken("store %d, %d wanted", (int)v->store, (int)store);
    if (v->codec.head_dim != l->dim) broken("head_dim %u", v->codec.head_dim);
    if (v->capacity == 0 || n > v->capacity || v->ring_start >= v->capacity)
        broken("%zu positions from %zu in %zu slots", n, v->ring_start, v->capacity);
    if (store == TQ_STORE_CODES &&
        (v->codec.format != l->codec.format || v->codec.scale_factor_d512 != l->codec.scale_factor_d512))
        broken("format %d", (int)v->codec.format);
}

static void check_codes(const model *m, const lane *l, const tq_view *v, const part *p) {
    check_store(l, v, TQ_STORE_CODES, p->n);
    for (size_t i = 0; i < p->n; i++)
        for (size_t g = 0; g < m->heads; g++) {
            const size_t slot = (v->ring_start + i) % v->capacity, row = lane_row(m, p->first + i, g);
            same("codes", p->first + i, g, data_at(v, m->heads, g, slot, l->row_bytes),
                 l->codes + row * l->row_bytes, l->row_bytes);
            same("norms", p->first + i, g, norms_at(v, m->heads, g, slot, l->norm_bytes),
                 l->norms + row * l->norm_bytes, l->norm_bytes);
        }
}

static void check_halves(const model *m, const lane *l, const tq_view *v, const part *p) {
    const size_t bytes = l->dim * sizeof *l->halves;
    check_store(l, v, l->store == TQ_STORE_BF16 ? TQ_STORE_BF16 : TQ_STORE_F16, p->n);
    for (size_t i = 0; i < p->n; i++)
        for (size_t g = 0; g < m->heads; g++) {
            const size_t slot = (v->ring_start + i) % v->capacity;
            same("float16", p->first + i, g, data_at(v, m->heads, g, slot, bytes),
                 l->halves + lane_row(m, p->first + i, g) * l->dim, bytes);
        }
}

/* Pages shared in the model are shared in the pool, and no others. */
static void check_pages(const model *m, const tq_view *v) {
    for (size_t i = 0; i < m->n_pages; i++) {
        page_model *page = &m->pool->pages[m->pages[i]];
        for (size_t j = 0; j < m->pool->n_pages && !page->seen; j++)
            if (m->pool->pages[j].users > 0 && m->pool->pages[j].seen &&
                m->pool->pages[j].where == v->pages[i])
                broken("page %d is used for two things", (int)v->pages[i]);
        if (!page->seen) page->where = v->pages[i];
        if (page->where != v->pages[i])
            broken("page %zu of the cache is page %d of the pool, was %d", i, (int)v->pages[i],
                   (int)page->where);
        page->seen = true;
    }
}

/* Every encoded key's centre through the view, by the rule of tqkv/view.h. */
static void check_view_centres(const model *m, const tq_view *v, const part *p) {
    const size_t n = m->heads * m->k.dim;
    if ((v->centre != NULL) != (m->given != NULL || m->learn > 0)) broken("a centre, or the lack of one");
    if (v->centre_stretch != m->stretch) broken("stretches of %zu", v->centre_stretch);
    for (uint64_t i = p->first; v->centre != NULL && i < p->first + p->n; i++) {
        const uint64_t number = v->centre_stretch == 0 ? 0 : i / v->centre_stretch % v->n_centres;
        same("centre", i, 0, v->centre + number * n, model_centre(m, i), n * sizeof *v->centre);
        if (m->given == NULL) same("centre", i, 0, v->centre + number * n, m->centres + i * n, n * 2);
    }
}

/* Of every position's stretch, those that have none yet too. */
static void check_centres(const model *m, const tq_cache *cache) {
    const size_t bytes = m->heads * m->k.dim * sizeof *m->centres;
    for (uint64_t p = 0; p < m->length + 2; p++) {
        const uint16_t *got = tq_cache_k_centre(cache, p), *want = model_centre(m, p);
        if ((got != NULL) != (want != NULL))
            broken("position %llu %s a centre", (ull)p, got != NULL ? "has" : "lacks");
        if (got != NULL) same("centre", p, 0, got, want, bytes);
    }
}

static void check_segments(const model *m, const tq_cache *cache) {
    const part parts[] = {model_sinks(m), model_codes(m), model_recent(m)};
    tq_segment segments[TQ_CACHE_SEGMENTS];
    size_t n = 99, at = 0;
    if (tq_cache_segments(cache, segments, &n) != TQ_OK) broken("%s", tq_last_error()->message);
    for (size_t i = 0; i < 3; i++) {
        const tq_segment *s = &segments[at];
        if (parts[i].n == 0) continue;
        if (at++ == n) broken("part %zu, %zu positions, is missing", i, parts[i].n);
        if (s->first_position != parts[i].first || s->length != parts[i].n)
            broken("part %zu is %llu + %zu, must be %llu + %zu", i, (ull)s->first_position, s->length,
                   (ull)parts[i].first, parts[i].n);
        (i == 1 && m->k.store == TQ_STORE_CODES ? check_codes : check_halves)(m, &m->k, &s->k, &parts[i]);
        (i == 1 && m->v.store == TQ_STORE_CODES ? check_codes : check_halves)(m, &m->v, &s->v, &parts[i]);
        if (i == 1) check_view_centres(m, &s->k, &parts[i]);
        if ((i != 1 && s->k.centre != NULL) || s->v.centre != NULL)
            broken("part %zu has the centre of another", i);
        if (i == 1 && m->pool != NULL) check_pages(m, &s->k);
        if (i == 1 && m->pool != NULL) check_pages(m, &s->v);
    }
    if (at != n) broken("%zu segments, %zu wanted", n, at);
}

static size_t row_bytes(const lane *l) {
    return l->row_bytes + l->norm_bytes;
}

/* Of the stretches that encoded positions lie in. */
static size_t centre_bytes(const model *m) {
    const part p = model_codes(m);
    size_t n = p.n > 0 || m->given != NULL;
    if (m->given == NULL && m->learn == 0) return 0;
    for (uint64_t i = p.first + 1; m->stretch > 0 && i < p.first + p.n; i++)
        n += i % m->stretch == 0;
    return n * m->heads * m->k.dim * sizeof *m->centres;
}

tq_cache_bytes check_bytes(const model *m, const tq_cache *cache, size_t *pages) {
    tq_cache_bytes b;
    memset(&b, 0xEE, sizeof b);
    b.size = sizeof b;
    if (tq_cache_count_bytes(cache, &b) != TQ_OK) broken("%s", tq_last_error()->message);
    const size_t k_dense = m->heads * m->k.dim * sizeof *m->k.halves;
    const size_t v_dense = m->heads * m->v.dim * sizeof *m->v.halves;
    const size_t n_codes = model_codes(m).n * m->heads;
    const size_t n_dense = model_sinks(m).n + model_recent(m).n;
    const size_t used = n_codes * (row_bytes(&m->k) + row_bytes(&m->v)) + n_dense * (k_dense + v_dense);
    const size_t encoded = b.k_codes + b.k_norms + b.v_codes + b.v_norms;
    if (b.used != used) broken("%zu bytes in use, %zu wanted", b.used, used);
    if (b.held != encoded + b.k_dense + b.v_dense + b.centre + b.table + b.object)
        broken("%zu bytes held are not the sum of the parts", b.held);
    if (b.object == 0 || b.centre < centre_bytes(m))
        broken("%zu bytes of object, %zu of centres, %zu wanted", b.object, b.centre, centre_bytes(m));
    if (b.k_dense < n_dense * k_dense || b.v_dense < n_dense * v_dense)
        broken("%zu and %zu bytes of float16 hold %zu", b.k_dense, b.v_dense,
               n_dense * (k_dense + v_dense));
    if (b.k_codes < n_codes * m->k.row_bytes || b.v_codes < n_codes * m->v.row_bytes ||
        b.k_norms < n_codes * m->k.norm_bytes || b.v_norms < n_codes * m->v.norm_bytes)
        broken("parts hold less than is in use");
    *pages = 0;
    if (m->pool == NULL && b.shared != 0) broken("%zu bytes shared without pages", b.shared);
    if (m->pool == NULL) return b;
    const size_t page_bytes = m->pool->page_rows * m->heads * (row_bytes(&m->k) + row_bytes(&m->v));
    size_t n_shared = 0;
    for (size_t i = 0; i < m->n_pages; i++)
        n_shared += m->pool->pages[m->pages[i]].users > 1;
    *pages = m->n_pages * page_bytes;
    if (encoded != *pages) broken("%zu bytes of %zu pages, %zu wanted", encoded, m->n_pages, *pages);
    if (b.shared != n_shared * page_bytes) broken("%zu bytes shared in %zu pages", b.shared, n_shared);
    return b;
}

void check_cache(const model *m, const tq_cache *cache) {
    size_t pages;
    const uint64_t length = tq_cache_length(cache), end = tq_cache_encoded_end(cache);
    const uint64_t first = tq_cache_first(cache);
    const part codes = model_codes(m);
    const uint64_t want = codes.n > 0 ? codes.first : m->encoded_end;
    if (length != m->length) broken("length %llu, %llu wanted", (ull)length, (ull)m->length);
    if (end != m->encoded_end) broken("encoded_end %llu, %llu wanted", (ull)end, (ull)m->encoded_end);
    if (first != want) broken("first %llu, %llu wanted", (ull)first, (ull)want);
    check_centres(m, cache);
    check_segments(m, cache);
    check_bytes(m, cache, &pages);
    if (m->pool != NULL && tq_page_pool_free_pages(m->pool->pool) != pool_model_free_pages(m->pool))
        broken("%zu pages free, %zu wanted", tq_page_pool_free_pages(m->pool->pool),
               pool_model_free_pages(m->pool));
}
