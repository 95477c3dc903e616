/* SPDX-License-Identifier: MIT
 * The centres of a cache's keys: one for all positions, or one for each stretch of them, in a ring where
 * positions are forgotten. A stretch has its centre as long as one of its positions is encoded. */
#include <string.h>

#include "base/size.h"
#include "cache/cache.h"

static size_t row_values(const tq_cache *c) {
    return c->heads * c->plan[TQ_K].dim;
}

/* Stretches that encoded positions lie in at a time, wherever they begin. */
static uint64_t most_rows(const tq_cache *c) {
    if (c->stretch == 0) return 1;
    const uint64_t last = tq_cache_forgets(c) ? tq_less(c->slots, 1) : c->capacity - 1;
    return tq_stretch_of(last, c->stretch) + (tq_cache_forgets(c) && last % c->stretch != 0 ? 2 : 1);
}

/* As many as there are, or twice as many, so that growing costs little; never more than can be wanted. */
static size_t rows_for(const tq_cache *c, uint64_t end) {
    const uint64_t most = most_rows(c), needed = tq_stretch_of(end == 0 ? 0 : end - 1, c->stretch) + 1;
    if (tq_cache_forgets(c) || needed >= most) return (size_t)most;
    if (needed <= c->centres.rows) return c->centres.rows;
    return (size_t)tq_least(tq_most(needed, 2 * (uint64_t)c->centres.rows), most);
}

tq_status tq_centres_reserve(tq_cache *c, uint64_t end, tq_centres *before) {
    void *memory;
    *before = c->centres;
    if (!tq_cache_has_centre(c)) return TQ_OK;
    const size_t rows = rows_for(c, end);
    if (rows <= c->centres.rows) return TQ_OK;
    TRY(tq_take(&c->allocator, "centres", rows, row_values(c) * sizeof *c->centres.values, &memory));
    if (before->rows > 0)
        memcpy(memory, before->values, before->rows * row_values(c) * sizeof *before->values);
    c->centres = (tq_centres){memory, rows};
    return TQ_OK;
}

static void give(const tq_cache *c, const tq_centres *centres) {
    tq_give(&c->allocator, centres->values, centres->rows, row_values(c) * sizeof *centres->values);
}

void tq_centres_commit(tq_cache *c, const tq_centres *before) {
    if (before->values != c->centres.values) give(c, before);
}

void tq_centres_rollback(tq_cache *c, const tq_centres *before) {
    if (before->values != c->centres.values) give(c, &c->centres);
    c->centres = *before;
}

void tq_centres_release(tq_cache *c) {
    give(c, &c->centres);
    c->centres = (tq_centres){NULL, 0};
}

void tq_centres_copy(const tq_cache *from, tq_cache *to) {
    const size_t rows = (size_t)tq_least(from->centres.rows, to->centres.rows);
    if (rows > 0)
        memcpy(to->centres.values, from->centres.values,
               rows * row_values(to) * sizeof *to->centres.values);
}

size_t tq_centres_bytes(const tq_cache *c) {
    return c->centres.rows * row_values(c) * sizeof *c->centres.values;
}

uint16_t *tq_centre_at(const tq_cache *c, uint64_t position, size_t head) {
    const size_t row = (size_t)(tq_stretch_of(position, c->stretch) % c->centres.rows);
    return c->centres.values + row * row_values(c) + head * c->plan[TQ_K].dim;
}

bool tq_centre_is_known(const tq_cache *c, uint64_t position) {
    if (c->centre_given) return true;
    return tq_cache_has_centre(c) && c->encoded_end > c->oldest &&
           tq_stretch_of(position, c->stretch) >= tq_stretch_of(c->oldest, c->stretch) &&
           tq_stretch_of(position, c->stretch) <= tq_stretch_of(c->encoded_end - 1, c->stretch);
}

uint64_t tq_centre_keys(const tq_cache *c, uint64_t first, uint64_t position, uint64_t *begin) {
    const uint64_t stretch = tq_stretch_of(position, c->stretch);
    *begin = tq_most(stretch * c->stretch, first);
    const uint64_t left = c->stretch == 0 ? UINT64_MAX : c->stretch - *begin % c->stretch;
    return tq_least(c->learn, left);
}
