/* SPDX-License-Identifier: MIT
 * Memory for positions to encode: a global cache's arrays grow, a paged one takes pages, and copies the
 * last one if others use it too. Kept or undone when the append is over. */
#include <string.h>

#include "cache/cache.h"

/* Rows of a global cache's first arrays; from there on they double, so that appending copies each row
 * once or twice in all. */
enum { FIRST_ROWS = 64 };

static size_t rows_for(const tq_cache *c, size_t need) {
    size_t rows = c->arrays.rows < FIRST_ROWS ? FIRST_ROWS : c->arrays.rows;
    while (rows < need)
        rows = rows > c->slots / 2 ? c->slots : 2 * rows;
    return rows < c->slots ? rows : c->slots;
}

static void copy_rows(const tq_cache *c, const tq_code_arrays *from, const tq_code_arrays *to, size_t n) {
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        const size_t codes = c->plan[side].row_bytes, norms = c->plan[side].n_norms;
        for (size_t h = 0; h < c->heads; h++) {
            const size_t source = h * from->rows, target = h * to->rows;
            memcpy(to->codes[side] + target * codes, from->codes[side] + source * codes, n * codes);
            memcpy(to->norms[side] + target * norms, from->norms[side] + source * norms,
                   n * norms * sizeof(float));
        }
    }
}

static tq_status grow(tq_room *room, tq_cache *c, size_t need) {
    tq_code_arrays larger;
    const tq_status status =
        tq_code_arrays_take(&larger, &c->allocator, c->plan, 1, c->heads, rows_for(c, need));
    if (status != TQ_OK) return status;
    const size_t present = (size_t)tq_less(c->encoded_end, c->sinks);
    if (present > 0) copy_rows(c, &c->arrays, &larger, present);
    room->before = c->arrays;
    room->grown = true;
    c->arrays = larger;
    return TQ_OK;
}

static size_t pages_for(const tq_cache *c, size_t positions) {
    const size_t rows = c->pool->arrays.rows;
    return positions / rows + (positions % rows != 0);
}

static tq_status take_pages(tq_room *room, tq_cache *c, size_t present, size_t need) {
    tq_page_pool *pool = c->pool;
    const size_t pages = pages_for(c, need), at = present / pool->arrays.rows;
    const bool copy = at < c->n_pages && pool->users[c->table[at]] > 1;
    const size_t wanted = pages - c->n_pages + (copy ? 1 : 0);
    if (wanted > pool->n_spare)
        return tq_fail(TQ_E_NO_MEMORY, wanted, "pool", "pool: %zu pages are wanted, %zu of %zu are free",
                       wanted, pool->n_spare, pool->n_pages);
    if (copy) {
        room->copied = true;
        room->shared = c->table[at];
        c->table[at] = tq_pool_take(pool);
        tq_pool_copy(pool, room->shared, c->table[at]);
    }
    while (c->n_pages < pages)
        c->table[c->n_pages++] = tq_pool_take(pool);
    return TQ_OK;
}

tq_status tq_room_take(tq_room *room, tq_cache *c, uint64_t first, uint64_t end) {
    *room = (tq_room){.pages_before = c->n_pages};
    if (end <= first || c->policy == TQ_CACHE_RING) return TQ_OK;
    const size_t present = (size_t)(first - c->sinks), need = (size_t)(end - c->sinks);
    if (c->pool != NULL) return take_pages(room, c, present, need);
    return need > c->arrays.rows ? grow(room, c, need) : TQ_OK;
}

void tq_room_keep(tq_room *room, tq_cache *c) {
    if (room->grown) tq_code_arrays_give(&room->before, &c->allocator, c->plan);
    if (room->copied) tq_pool_give(c->pool, room->shared);
}

void tq_room_undo(tq_room *room, tq_cache *c) {
    if (room->grown) {
        tq_code_arrays_give(&c->arrays, &c->allocator, c->plan);
        c->arrays = room->before;
    }
    while (c->n_pages > room->pages_before)
        tq_pool_give(c->pool, c->table[--c->n_pages]);
    if (room->copied) { /* it was the last page */
        tq_pool_give(c->pool, c->table[c->n_pages - 1]);
        c->table[c->n_pages - 1] = room->shared;
    }
}

void tq_cache_keep_pages(tq_cache *c, uint64_t encoded_end) {
    if (c->pool == NULL) return;
    const size_t pages = pages_for(c, (size_t)tq_less(encoded_end, c->sinks));
    while (c->n_pages > pages)
        tq_pool_give(c->pool, c->table[--c->n_pages]);
}
