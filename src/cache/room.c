/* SPDX-License-Identifier: MIT
 * Memory for positions to encode: blocks of a global cache, pages of a paged one. */
#include "cache/cache.h"

static bool has_all(const tq_cache *c) {
    return c->slots == 0 || c->policy == TQ_CACHE_RING;
}

static size_t blocks_for(const tq_cache *c, uint64_t end) {
    return (size_t)((end - 1 - c->sinks) / c->shape.rows) + 1;
}

tq_status tq_room_reserve(tq_room *room, tq_cache *c, uint64_t first, uint64_t end) {
    *room = (tq_room){.before = c->blocks, .centres = c->centres, .pages_before = c->n_pages};
    if (end <= first) return TQ_OK;
    TRY(tq_centres_reserve(c, end, &room->centres));
    tq_status status = TQ_OK;
    if (!has_all(c))
        status = c->pool != NULL ? tq_pages_reserve(room, c, first, end)
                                 : tq_blocks_reserve(c, blocks_for(c, end), &room->before);
    if (status != TQ_OK) tq_centres_rollback(c, &room->centres);
    return status;
}

void tq_room_commit(tq_room *room, tq_cache *c) {
    tq_centres_commit(c, &room->centres);
    tq_blocks_commit(c, &room->before);
    tq_pages_commit(room, c);
}

void tq_room_rollback(tq_room *room, tq_cache *c) {
    tq_centres_rollback(c, &room->centres);
    tq_blocks_rollback(c, &room->before);
    tq_pages_rollback(room, c);
}

/* Blocks stay in any case. */
tq_status tq_room_hold(tq_cache *c, uint64_t first, uint64_t end) {
    tq_room room = {.before = c->blocks, .centres = c->centres};
    if (end <= first) return TQ_OK;
    TRY(tq_centres_reserve(c, end, &room.centres));
    tq_status status = TQ_OK;
    if (!has_all(c))
        status = c->pool != NULL ? tq_pages_hold(&room, c, first, end)
                                 : tq_blocks_reserve(c, blocks_for(c, end), &room.before);
    if (status == TQ_OK)
        tq_room_commit(&room, c);
    else
        tq_centres_rollback(c, &room.centres);
    return status;
}
