/* SPDX-License-Identifier: MIT
 * Caches come and go: built from a model of themselves, copied, shortened, emptied, given back. */
#include <string.h>

#include "base/size.h"
#include "cache/cache.h"

static tq_status take_halves(const tq_cache *c, unsigned side, size_t rows, uint16_t **halves) {
    void *memory;
    size_t vectors;
    if (!tq_size_mul(c->heads, rows, &vectors))
        return tq_fail(TQ_E_OVERFLOW, rows, "recent", "%zu heads of %zu positions do not fit in memory",
                       c->heads, rows);
    const tq_status status =
        tq_take(&c->allocator, "float16 vectors", vectors, tq_half_bytes(c, side), &memory);
    *halves = memory;
    return status;
}

static void give_halves(const tq_cache *c, unsigned side, size_t rows, uint16_t *halves) {
    tq_give(&c->allocator, halves, c->heads * rows, tq_half_bytes(c, side));
}

/* Everything but what grows with the positions: blocks and centres of a global cache, and pages. */
static tq_status take_parts(tq_cache *c) {
    void *memory = NULL;
    tq_block_table none;
    tq_centres no_centres;
    tq_status status = TQ_OK;
    for (unsigned side = TQ_K; side < TQ_SIDES && status == TQ_OK; side++) {
        status = take_halves(c, side, c->sinks, &c->sink_halves[side]);
        if (status == TQ_OK) status = take_halves(c, side, c->half_rows, &c->halves[side]);
    }
    if (status == TQ_OK && (c->centre_given || tq_cache_forgets(c)))
        status = tq_centres_reserve(c, 0, &no_centres);
    if (status == TQ_OK && c->page_entries > 0) {
        status = tq_take(&c->allocator, "block table", c->page_entries, sizeof *c->pages, &memory);
        c->pages = memory;
    }
    if (status == TQ_OK && c->policy == TQ_CACHE_RING && c->slots > 0)
        status = tq_blocks_reserve(c, 1, &none);
    return status;
}

/* What a model has of its own does not go over with the rest. */
static void without_memory(tq_cache *c) {
    c->blocks = (tq_block_table){0};
    for (unsigned side = TQ_K; side < TQ_SIDES; side++)
        c->sink_halves[side] = c->halves[side] = NULL;
    c->centres = (tq_centres){NULL, 0};
    c->pages = NULL;
    c->n_pages = c->reserved = 0;
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
    if (k_centre != NULL)
        c->kernels->f32_to_f16(c->heads * c->plan[TQ_K].dim, k_centre, c->centres.values);
    *cache = c;
    return TQ_OK;
}

void tq_cache_release(tq_cache *c) {
    const tq_allocator to = c->allocator;
    tq_cache_empty(c);
    tq_blocks_release(c);
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        give_halves(c, side, c->sinks, c->sink_halves[side]);
        give_halves(c, side, c->half_rows, c->halves[side]);
    }
    tq_centres_release(c);
    tq_give(&to, c->pages, c->page_entries, sizeof *c->pages);
    tq_give(&to, c, 1, sizeof *c);
}

void tq_cache_empty(tq_cache *c) {
    c->length = c->encoded_end = c->reserved = 0;
    c->oldest = c->sinks;
    if (c->pool != NULL) tq_pages_trim(c);
}

tq_status tq_cache_check_length(const tq_cache *c, uint64_t length, const char *field) {
    if (length > c->length)
        return tq_fail(TQ_E_POSITION, length, field, "%s %llu: %llu positions are there", field,
                       (unsigned long long)length, (unsigned long long)c->length);
    const uint64_t window = tq_cache_window(c);
    const uint64_t needed = tq_most(length >= window ? length - window + 1 : 0, c->sinks);
    if (tq_cache_forgets(c) && length < c->length && needed < length && needed < c->oldest)
        return tq_fail(TQ_E_POSITION, needed, field,
                       "%s %llu: the next query looks back on position %llu, %llu is the oldest left",
                       field, (unsigned long long)length, (unsigned long long)needed,
                       (unsigned long long)c->oldest);
    return TQ_OK;
}

void tq_cache_shorten(tq_cache *c, uint64_t length) {
    c->length = length;
    c->encoded_end = tq_least(c->encoded_end, length);
    c->oldest = tq_most(tq_least(c->oldest, length), c->sinks);
    if (c->pool != NULL) tq_pages_trim(c);
}

static void copy_halves(const tq_cache *from, tq_cache *to) {
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        const size_t row = from->heads * tq_half_bytes(from, side);
        if (from->sinks > 0) memcpy(to->sink_halves[side], from->sink_halves[side], from->sinks * row);
        if (from->half_rows > 0) memcpy(to->halves[side], from->halves[side], from->half_rows * row);
    }
}

/* Room for what is encoded: a ring has it already. */
static tq_status take_or_share(const tq_cache *from, tq_cache *to) {
    const uint64_t first = to->sinks, end = to->encoded_end;
    tq_centres before;
    if (to->pool == NULL) return tq_room_hold(to, first, end);
    if (end > first) TRY(tq_centres_reserve(to, end, &before));
    if (end > first) tq_centres_commit(to, &before);
    tq_pages_share(from, to);
    return TQ_OK;
}

tq_status tq_cache_copy(const tq_cache *from, uint64_t length, tq_cache **cache) {
    tq_cache *c;
    TRY(tq_cache_build(from, NULL, &c));
    tq_cache_shorten(c, length);
    const tq_status status = take_or_share(from, c);
    if (status != TQ_OK) {
        tq_cache_release(c);
        return status;
    }
    copy_halves(from, c);
    tq_blocks_copy(from, c);
    tq_centres_copy(from, c);
    *cache = c;
    return TQ_OK;
}
