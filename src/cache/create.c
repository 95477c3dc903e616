/* SPDX-License-Identifier: MIT
 * Caches come and go: built from a model of themselves, copied, shortened, emptied, given back. */
#include <string.h>

#include "base/size.h"
#include "cache/cache.h"

static tq_status take_halves(const tq_cache *c, size_t rows, uint16_t **halves) {
    void *memory;
    size_t vectors;
    if (!tq_size_mul(c->heads, rows, &vectors))
        return tq_fail(TQ_E_OVERFLOW, rows, "recent", "%zu heads of %zu positions do not fit in memory",
                       c->heads, rows);
    const tq_status status =
        tq_take(&c->allocator, "float16 vectors", vectors, c->dim * sizeof **halves, &memory);
    *halves = memory;
    return status;
}

static void give_halves(const tq_cache *c, size_t rows, uint16_t *halves) {
    tq_give(&c->allocator, halves, c->heads * rows, c->dim * sizeof *halves);
}

static bool wants_centre(const tq_cache *c) {
    return c->centre_given || c->learn > 0;
}

/* Everything but the arrays of a global cache, which grow, and of pages, which come from their pool. */
static tq_status take_parts(tq_cache *c) {
    void *memory = NULL;
    tq_status status = TQ_OK;
    for (unsigned side = TQ_K; side < TQ_SIDES && status == TQ_OK; side++) {
        status = take_halves(c, c->sinks, &c->sink_halves[side]);
        if (status == TQ_OK) status = take_halves(c, c->half_rows, &c->halves[side]);
    }
    if (status == TQ_OK && wants_centre(c)) {
        status = tq_take(&c->allocator, "k_centre", c->heads, c->dim * sizeof *c->centre, &memory);
        c->centre = memory;
    }
    if (status == TQ_OK && c->table_entries > 0) {
        status = tq_take(&c->allocator, "block table", c->table_entries, sizeof *c->table, &memory);
        c->table = memory;
    }
    if (status == TQ_OK && c->policy == TQ_CACHE_RING && c->slots > 0)
        status = tq_code_arrays_take(&c->arrays, &c->allocator, c->plan, 1, c->heads, c->slots);
    return status;
}

/* What a model has of its own does not go over with the rest. */
static void without_memory(tq_cache *c) {
    c->arrays = (tq_code_arrays){0};
    for (unsigned side = TQ_K; side < TQ_SIDES; side++)
        c->sink_halves[side] = c->halves[side] = NULL;
    c->centre = NULL;
    c->table = NULL;
    c->n_pages = 0;
}

tq_status tq_cache_build(const tq_cache *model, const float *k_centre, tq_cache **cache) {
    void *object;
    tq_status status = tq_take(&model->allocator, "cache", 1, sizeof *model, &object);
    if (status != TQ_OK) return status;
    tq_cache *c = object;
    *c = *model;
    without_memory(c);
    status = take_parts(c);
    if (status != TQ_OK) {
        tq_cache_release(c);
        return status;
    }
    if (k_centre != NULL) memcpy(c->centre, k_centre, c->heads * c->dim * sizeof *k_centre);
    *cache = c;
    return TQ_OK;
}

void tq_cache_release(tq_cache *c) {
    const tq_allocator to = c->allocator;
    tq_cache_keep_pages(c, 0);
    tq_code_arrays_give(&c->arrays, &to, c->plan);
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        give_halves(c, c->sinks, c->sink_halves[side]);
        give_halves(c, c->half_rows, c->halves[side]);
    }
    tq_give(&to, c->centre, c->heads, c->dim * sizeof *c->centre);
    tq_give(&to, c->table, c->table_entries, sizeof *c->table);
    tq_give(&to, c, 1, sizeof *c);
}

void tq_cache_empty(tq_cache *c) {
    c->length = c->encoded_end = 0;
    c->oldest = c->sinks;
    c->centre_known = c->centre_given;
    tq_cache_keep_pages(c, 0);
}

tq_status tq_cache_check_shorten(const tq_cache *c, uint64_t length, const char *field) {
    if (length > c->length)
        return tq_fail(TQ_E_POSITION, length, field, "%s %llu: %llu positions are there", field,
                       (unsigned long long)length, (unsigned long long)c->length);
    const uint64_t window = c->window == 0 ? c->capacity : c->window;
    const uint64_t needed = tq_most(length >= window ? length - window + 1 : 0, c->sinks);
    if (c->policy == TQ_CACHE_RING && length < c->length && needed < length && needed < c->oldest)
        return tq_fail(TQ_E_POSITION, needed, field,
                       "%s %llu: the next query looks back on position %llu, %llu is the oldest left",
                       field, (unsigned long long)length, (unsigned long long)needed,
                       (unsigned long long)c->oldest);
    return TQ_OK;
}

tq_status tq_cache_shorten(tq_cache *c, uint64_t length) {
    const tq_status status = tq_cache_check_shorten(c, length, "length");
    if (status != TQ_OK) return status;
    c->length = length;
    c->encoded_end = tq_least(c->encoded_end, length);
    c->oldest = tq_most(tq_least(c->oldest, length), c->sinks);
    tq_cache_keep_pages(c, c->encoded_end);
    return TQ_OK;
}

static void copy_halves(const tq_cache *from, tq_cache *to) {
    const size_t row = from->heads * from->dim * sizeof(uint16_t);
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        if (from->sinks > 0) memcpy(to->sink_halves[side], from->sink_halves[side], from->sinks * row);
        if (from->half_rows > 0) memcpy(to->halves[side], from->halves[side], from->half_rows * row);
    }
}

tq_status tq_cache_copy(const tq_cache *from, uint64_t length, tq_cache **cache) {
    const tq_status status = tq_cache_build(from, from->centre_known ? from->centre : NULL, cache);
    if (status != TQ_OK) return status;
    tq_cache *c = *cache;
    copy_halves(from, c);
    for (; c->n_pages < from->n_pages; c->n_pages++) {
        c->table[c->n_pages] = from->table[c->n_pages];
        c->pool->users[c->table[c->n_pages]]++;
    }
    return tq_cache_shorten(c, length);
}
