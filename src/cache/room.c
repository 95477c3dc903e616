/* SPDX-License-Identifier: MIT
 * Memory for positions to encode: a global cache gets blocks, a paged one takes pages, and copies the
 * last one if others use it too. Kept or undone when the append is over. */
#include "cache/cache.h"

static size_t blocks_for(const tq_cache *c, size_t positions) {
    const size_t rows = c->shape.rows;
    return positions == 0 ? 0 : (positions - 1) / rows + 1;
}

size_t tq_cache_blocks_below(const tq_cache *c, uint64_t encoded_end) {
    return blocks_for(c, (size_t)tq_less(encoded_end, c->sinks));
}

static tq_status take_pages(tq_room *room, tq_cache *c, size_t present, size_t need) {
    tq_page_pool *pool = c->pool;
    const size_t pages = blocks_for(c, need), at = present / c->shape.rows;
    const bool copy = at < c->n_pages && pool->users[c->pages[at]] > 1;
    const size_t wanted = (size_t)tq_less(pages, c->n_pages) + (copy ? 1 : 0);
    if (wanted > pool->n_spare)
        return tq_fail(TQ_E_NO_MEMORY, wanted, "pool", "pool: %zu pages are wanted, %zu of %zu are free",
                       wanted, pool->n_spare, pool->n_pages);
    if (copy) {
        room->copied = true;
        room->copy = at;
        room->shared = c->pages[at];
        c->pages[at] = tq_pool_take(pool);
        tq_pool_copy(pool, room->shared, c->pages[at]);
    }
    while (c->n_pages < pages)
        c->pages[c->n_pages++] = tq_pool_take(pool);
    return TQ_OK;
}

tq_status tq_room_take(tq_room *room, tq_cache *c, uint64_t first, uint64_t end) {
    *room = (tq_room){.before = c->blocks, .pages_before = c->n_pages};
    if (end <= first || c->policy == TQ_CACHE_RING) return TQ_OK;
    const size_t present = (size_t)(first - c->sinks), need = (size_t)(end - c->sinks);
    if (c->pool != NULL) return take_pages(room, c, present, need);
    return tq_blocks_extend(c, blocks_for(c, need), &room->before);
}

void tq_room_keep(tq_room *room, tq_cache *c) {
    tq_blocks_keep(c, &room->before);
    if (room->copied) tq_pool_give(c->pool, room->shared);
}

static void drop_pages(tq_cache *c, size_t keep) {
    while (c->n_pages > keep)
        tq_pool_give(c->pool, c->pages[--c->n_pages]);
}

void tq_room_undo(tq_room *room, tq_cache *c) {
    tq_blocks_undo(c, &room->before);
    drop_pages(c, room->pages_before);
    if (!room->copied) return;
    tq_pool_give(c->pool, c->pages[room->copy]);
    c->pages[room->copy] = room->shared;
}

void tq_cache_trim_pages(tq_cache *c, uint64_t encoded_end) {
    if (c->n_pages > 0) drop_pages(c, tq_most(c->reserved, tq_cache_blocks_below(c, encoded_end)));
}

void tq_cache_share_pages(const tq_cache *from, tq_cache *to, size_t n) {
    for (; to->n_pages < n; to->n_pages++) {
        to->pages[to->n_pages] = from->pages[to->n_pages];
        to->pool->users[to->pages[to->n_pages]]++;
    }
}
