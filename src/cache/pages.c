/* SPDX-License-Identifier: MIT
 * The table of a paged cache: pages come at its end, are copied when others use them too, and go back at
 * its beginning as the window moves on, or rather to its end, if they are wanted there. */
#include <string.h>

#include "cache/cache.h"

/* Pages are counted from the first that follows the sinks. */
static uint64_t page_of(const tq_cache *c, uint64_t position) {
    return (position - c->sinks) / c->shape.rows;
}

/* Most pages that encoded positions lie in at a time: with a window they may begin anywhere in one. */
static size_t most_pages(const tq_cache *c) {
    if (c->slots == 0) return 0;
    if (c->window == 0 || c->slots == 1) return (c->slots - 1) / c->shape.rows + 1;
    return (c->slots - 2) / c->shape.rows + 2;
}

/* A copy is taken before what it is of goes; new pages, before the old ones have been passed on. */
size_t tq_pages_entries(const tq_cache *c) {
    const size_t most = (size_t)tq_least(most_pages(c), c->pool->n_pages);
    return most == 0 ? 0 : most * (c->window == 0 ? 1 : 2) + 1;
}

/* What lies in the first n pages is not wanted any more. Those that nobody else uses move to the end, as
 * far as `keep` pages need them. */
static void pass_on(tq_cache *c, size_t n, size_t keep) {
    for (size_t i = 0; i < n; i++)
        if (c->n_pages - n < keep && !tq_pool_is_shared(c->pool, c->pages[i]))
            c->pages[c->n_pages++] = c->pages[i];
        else
            tq_pool_give(c->pool, c->pages[i]);
    c->n_pages -= n;
    memmove(c->pages, c->pages + n, c->n_pages * sizeof *c->pages);
}

static size_t count_own(const tq_cache *c, size_t n) {
    size_t own = 0;
    for (size_t i = 0; i < n; i++)
        own += !tq_pool_is_shared(c->pool, c->pages[i]);
    return own;
}

/* Puts the last page in place of the one that `first` is to be written to. */
static void use_copy(tq_room *room, tq_cache *c, size_t entry) {
    room->copied = true;
    room->copy = entry;
    room->shared = c->pages[entry];
    c->pages[entry] = c->pages[--c->n_pages];
    tq_pool_copy(c->pool, room->shared, c->pages[entry]);
}

/* The table is to have `count` pages, from `begin` on. */
static tq_status set_pages(tq_room *room, tq_cache *c, uint64_t begin, size_t count, uint64_t first) {
    if (c->n_pages == 0) c->first_page = begin;
    const size_t gone = (size_t)tq_least(begin - c->first_page, c->n_pages);
    const uint64_t entry = tq_less(page_of(c, first), c->first_page);
    const bool copy = entry >= gone && entry < c->n_pages && tq_pool_is_shared(c->pool, c->pages[entry]);
    const size_t have = c->n_pages - gone + count_own(c, gone);
    const size_t wanted = (size_t)tq_less(count, have) + (copy ? 1 : 0);
    TRY(tq_pool_take(c->pool, wanted, c->pages + c->n_pages));
    c->n_pages += wanted;
    if (copy) use_copy(room, c, (size_t)entry);
    pass_on(c, gone, (size_t)tq_most(count, c->reserved));
    c->first_page = begin;
    c->reserved = (size_t)tq_least(c->reserved, c->n_pages);
    return TQ_OK;
}

tq_status tq_pages_reserve(tq_room *room, tq_cache *c, uint64_t first, uint64_t end) {
    const uint64_t begin = page_of(c, tq_most(c->oldest, tq_less(end, c->slots)));
    return set_pages(room, c, begin, (size_t)(page_of(c, end - 1) + 1 - begin), first);
}

tq_status tq_pages_hold(tq_room *room, tq_cache *c, uint64_t first, uint64_t end) {
    const uint64_t begin = page_of(c, c->oldest), pages = page_of(c, end - 1) + 1 - begin;
    const size_t count = (size_t)tq_least(pages, most_pages(c)), reserved = c->reserved;
    c->reserved = (size_t)tq_most(count, c->n_pages);
    const tq_status status = set_pages(room, c, begin, c->reserved, first);
    c->reserved = status == TQ_OK ? (size_t)tq_most(count, reserved) : reserved;
    return status;
}

void tq_pages_commit(tq_room *room, tq_cache *c) {
    if (room->copied) tq_pool_give(c->pool, room->shared);
}

void tq_pages_rollback(tq_room *room, tq_cache *c) {
    while (c->n_pages > room->pages_before)
        tq_pool_give(c->pool, c->pages[--c->n_pages]);
    if (!room->copied) return;
    tq_pool_give(c->pool, c->pages[room->copy]);
    c->pages[room->copy] = room->shared;
}

/* Pages of [oldest, encoded_end). Where there are none, what comes next says where the table begins. */
static size_t needed(tq_cache *c) {
    if (c->encoded_end > c->oldest) return (size_t)(page_of(c, c->encoded_end - 1) + 1 - c->first_page);
    c->first_page = page_of(c, c->oldest);
    return 0;
}

/* A page that is to be written to must not be another's too: of those reserved, such ones go. */
void tq_pages_trim(tq_cache *c) {
    size_t keep = c->slots == 0 ? 0 : needed(c);
    for (size_t i = keep; i < c->n_pages; i++)
        if (i < c->reserved && !tq_pool_is_shared(c->pool, c->pages[i]))
            c->pages[keep++] = c->pages[i];
        else
            tq_pool_give(c->pool, c->pages[i]);
    c->n_pages = (size_t)tq_least(keep, c->n_pages);
    c->reserved = (size_t)tq_least(c->reserved, c->n_pages);
}

void tq_pages_share(const tq_cache *from, tq_cache *to) {
    const size_t n = to->slots == 0 ? 0 : needed(to);
    for (; to->n_pages < n; to->n_pages++) {
        to->pages[to->n_pages] = from->pages[to->n_pages];
        tq_pool_share(to->pool, to->pages[to->n_pages]);
    }
}
