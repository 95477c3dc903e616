/* SPDX-License-Identifier: MIT
 * What a cache holds as numbers again: for stores of plain tensors, and to look at. Attention does not
 * need it. */
#include <string.h>

#include "core.h"

static size_t or_else(size_t n, size_t instead) {
    return n != 0 ? n : instead;
}

/* Where a position's rows lie, of data or of norms: its first head's, and the step to the next. */
typedef struct place {
    const char *first;
    size_t head_stride;
} place;

static place place_of(const tq_view *v, size_t heads, size_t logical, size_t row_bytes, bool norms) {
    const size_t slot = (v->ring_start + logical) % v->capacity;
    const bool cut = v->pages != NULL || v->blocks != NULL;
    const size_t row_stride = or_else(norms ? v->norm_row_stride : v->row_stride, row_bytes);
    const size_t head_stride = or_else(norms ? v->norm_head_stride : v->head_stride,
                                       (cut ? v->page_rows : v->capacity) * row_stride);
    const size_t page_stride = or_else(norms ? v->norm_page_stride : v->page_stride, heads * head_stride);
    const char *base = norms ? v->norms : v->data;
    size_t row = slot;
    if (v->blocks != NULL)
        base = norms ? v->norm_blocks[slot / v->page_rows] : v->blocks[slot / v->page_rows];
    else if (v->pages != NULL)
        base += (size_t)v->pages[slot / v->page_rows] * page_stride;
    if (cut) row = slot % v->page_rows;
    return (place){base + row * row_stride, head_stride};
}

static const uint16_t *centre_of(const tq_view *v, size_t heads, uint64_t position) {
    if (v->centre == NULL) return NULL;
    size_t number = v->centre_stretch != 0 ? (size_t)(position / v->centre_stretch) % v->n_centres : 0;
    if (v->centre_table != NULL) number = (size_t)v->centre_table[number];
    return v->centre + number * heads * v->codec.head_dim;
}

/* A position of all heads, [G][D], side by side. */
static tq_status decode_row(const tq_view *v, size_t heads, size_t logical, uint64_t position,
                            float *out) {
    const size_t dim = v->codec.head_dim;
    if (v->store != TQ_STORE_CODES) {
        const place p = place_of(v, heads, logical, dim * (v->store == TQ_STORE_F32 ? 4 : 2), false);
        for (size_t h = 0; h < heads; h++)
            core_widen(v->store == TQ_STORE_F16    ? CORE_F16
                       : v->store == TQ_STORE_BF16 ? CORE_BF16
                                                   : CORE_F32,
                       dim, p.first + h * p.head_stride, out + h * dim);
        return TQ_OK;
    }
    size_t code_bytes, norm_bytes;
    const tq_status status = tq_row_size(&v->codec, &code_bytes, &norm_bytes);
    if (status != TQ_OK) return status;
    const place codes = place_of(v, heads, logical, code_bytes, false);
    const place norms = place_of(v, heads, logical, norm_bytes, true);
    const uint16_t *centre = centre_of(v, heads, position);
    const tq_batch one = {.heads = heads,
                          .rows = 1,
                          .code_head_stride = codes.head_stride,
                          .norm_head_stride = norms.head_stride};
    return tq_decode(&v->codec, &one, TQ_ORIGINAL, (const uint8_t *)codes.first,
                     (heads - 1) * codes.head_stride + code_bytes, norms.first,
                     (heads - 1) * norms.head_stride + norm_bytes, centre,
                     centre != NULL ? heads * dim : 0, out, heads * dim);
}

static tq_status decode(const core_cache *c, uint64_t first, uint64_t end, float *k, float *v) {
    tq_segment s[TQ_CACHE_SEGMENTS];
    size_t n;
    uint64_t done = 0;
    const size_t heads = c->layer.n_kv_heads, k_row = heads * c->layer.k.head_dim,
                 v_row = heads * c->layer.v.head_dim;
    tq_status status = tq_cache_segments(c->cache, s, &n);
    for (size_t i = 0; i < n && status == TQ_OK; i++)
        for (size_t j = 0; j < s[i].length && status == TQ_OK; j++) {
            const uint64_t p = s[i].first_position + j;
            if (p < first || p >= end) continue;
            status = decode_row(&s[i].k, heads, j, p, k + (p - first) * k_row);
            if (status == TQ_OK) status = decode_row(&s[i].v, heads, j, p, v + (p - first) * v_row);
            done++;
        }
    if (status == TQ_OK && done != end - first)
        return tq_fail(TQ_E_POSITION, done, "first", "of positions %llu to %llu only %llu are there",
                       (unsigned long long)first, (unsigned long long)end, (unsigned long long)done);
    return status;
}

/* _decode(first, end, k, v): float32 [n][G][D] and [n][G][E], side by side. */
PyObject *core_cache_decode(PyObject *self, PyObject *args) {
    core_cache *c = (core_cache *)self;
    unsigned long long first, end;
    PyObject *k_given, *v_given;
    core_array k = {0}, v = {0};
    tq_status status = TQ_OK;
    if (!PyArg_ParseTuple(args, "KKOO", &first, &end, &k_given, &v_given)) return NULL;
    const size_t heads = c->layer.n_kv_heads;
    bool ready = core_array_get(k_given, &k, "k", CORE_BIT(CORE_F32), true, 3, 3) == 0 &&
                 core_array_get(v_given, &v, "v", CORE_BIT(CORE_F32), true, 3, 3) == 0;
    if (ready && (end < first || k.n != (end - first) * heads * c->layer.k.head_dim ||
                  v.n != (end - first) * heads * c->layer.v.head_dim)) {
        core_refuse(TQ_E_SIZE, k.n, "k", "k and v must be [%llu][%zu][..], side by side",
                    end < first ? 0ULL : end - first, heads);
        ready = false;
    }
    if (ready) {
        Py_BEGIN_ALLOW_THREADS pthread_rwlock_rdlock(&c->lock);
        status = decode(c, first, end, k.data, v.data);
        pthread_rwlock_unlock(&c->lock);
        Py_END_ALLOW_THREADS
    }
    core_array_release(&k);
    core_array_release(&v);
    return core_done(ready, status);
}
