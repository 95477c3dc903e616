/* SPDX-License-Identifier: MIT
 * Memory for positions to encode: blocks of a global cache, pages of a paged one. */
#include "cache/cache.h"

static bool has_all(const tq_cache *c, uint64_t first, uint64_t end) {
    return end <= first || c->slots == 0 || c->policy == TQ_CACHE_RING;
}

static size_t blocks_for(const tq_cache *c, uint64_t end) {
    return (size_t)((end - 1 - c->sinks) / c->shape.rows) + 1;
}

tq_status tq_room_reserve(tq_room *room, tq_cache *c, uint64_t first, uint64_t end) {
    *room = (tq_room){.before = c->blocks, .pages_before = c->n_pages};
    if (has_all(c, first, end)) return TQ_OK;
    if (c->pool != NULL) return tq_pages_reserve(room, c, first, end);
    return tq_blocks_reserve(c, blocks_for(c, end), &room->before);
}

void tq_room_commit(tq_room *room, tq_cache *c) {
    tq_blocks_commit(c, &room->before);
    tq_pages_commit(room, c);
}

void tq_room_rollback(tq_room *room, tq_cache *c) {
    tq_blocks_rollback(c, &room->before);
    tq_pages_rollback(room, c);
}

/* Blocks stay in any case. */
tq_status tq_room_hold(tq_cache *c, uint64_t first, uint64_t end) {
    tq_room room = {.before = c->blocks};
    if (has_all(c, first, end)) return TQ_OK;
    TRY(c->pool != NULL ? tq_pages_hold(&room, c, first, end)
                        : tq_blocks_reserve(c, blocks_for(c, end), &room.before));
    tq_room_commit(&room, c);
    return TQ_OK;
}
