/* SPDX-License-Identifier: MIT
 * Blocks of encoded positions: how they are laid out, where they come from, and where a vector lies. */
#include <string.h>

#include "base/size.h"
#include "cache/cache.h"

tq_status tq_block_shape_init(tq_block_shape *s, const tq_plan plan[TQ_SIDES], size_t pages, size_t heads,
                              size_t rows) {
    *s = (tq_block_shape){.rows = rows};
    bool fits = tq_size_mul(heads, rows, &s->vectors) && tq_size_mul(s->vectors, pages, &s->vectors);
    for (unsigned side = TQ_K; fits && side < TQ_SIDES; side++) {
        fits = tq_size_place(&s->bytes, &s->codes_at[side], s->vectors, plan[side].row_bytes);
        s->code_bytes[side] = s->bytes - s->codes_at[side];
        fits = fits && tq_size_place(&s->bytes, &s->norms_at[side], s->vectors, plan[side].norm_bytes);
        s->norm_bytes[side] = s->bytes - s->norms_at[side];
    }
    if (fits) return TQ_OK;
    return tq_fail(TQ_E_OVERFLOW, rows, "codes",
                   "%zu pages of %zu heads of %zu positions do not fit in memory", pages, heads, rows);
}

tq_status tq_block_take(tq_block *b, const tq_allocator *allocator, const tq_block_shape *s) {
    void *memory;
    *b = (tq_block){0};
    TRY(tq_take(allocator, "codes", 1, s->bytes, &memory));
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        b->codes[side] = (uint8_t *)memory + s->codes_at[side];
        b->norms[side] = (uint8_t *)memory + s->norms_at[side];
    }
    return TQ_OK;
}

void tq_block_give(tq_block *b, const tq_allocator *allocator, const tq_block_shape *s) {
    tq_give(allocator, b->codes[TQ_K], 1, s->bytes); /* with which the block begins */
    *b = (tq_block){0};
}

/* A table is four arrays of pointers. */
enum { TABLE_ARRAYS = 2 * TQ_SIDES };

static void give_table(const tq_allocator *allocator, const tq_block_table *t) {
    tq_give(allocator, t->codes[TQ_K], t->room, TABLE_ARRAYS * sizeof *t->codes[TQ_K]);
}

size_t tq_block_table_bytes(const tq_block_table *t) {
    return t->room * TABLE_ARRAYS * sizeof *t->codes[TQ_K];
}

/* A larger table of the same blocks. */
static tq_status widen(tq_block_table *t, const tq_allocator *allocator, size_t room) {
    tq_block_table wide = {.room = room, .n = t->n};
    void *memory;
    TRY(tq_take(allocator, "block table", room, TABLE_ARRAYS * sizeof *wide.codes[TQ_K], &memory));
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        wide.codes[side] = (void **)memory + 2 * side * room;
        wide.norms[side] = (void **)memory + (2 * side + 1) * room;
        if (t->n == 0) continue;
        memcpy(wide.codes[side], t->codes[side], t->n * sizeof *wide.codes[side]);
        memcpy(wide.norms[side], t->norms[side], t->n * sizeof *wide.norms[side]);
    }
    *t = wide;
    return TQ_OK;
}

static tq_status add_block(tq_cache *c) {
    tq_block_table *t = &c->blocks;
    tq_block b;
    TRY(tq_block_take(&b, &c->allocator, &c->shape));
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        t->codes[side][t->n] = b.codes[side];
        t->norms[side][t->n] = b.norms[side];
    }
    t->n++;
    return TQ_OK;
}

static void drop_blocks(tq_cache *c, size_t keep) {
    tq_block_table *t = &c->blocks;
    while (t->n > keep) {
        tq_block last = {.codes = {t->codes[TQ_K][--t->n]}};
        tq_block_give(&last, &c->allocator, &c->shape);
    }
}

/* Tables double, so that their pointers are copied once or twice in all. */
enum { FIRST_ENTRIES = 16 };

static size_t entries_for(const tq_cache *c, size_t n) {
    const size_t most = (c->slots - 1) / c->shape.rows + 1;
    size_t entries = c->blocks.room < FIRST_ENTRIES ? FIRST_ENTRIES : c->blocks.room;
    while (entries < n)
        entries = entries > most / 2 ? most : 2 * entries;
    return entries < most ? entries : most;
}

tq_status tq_blocks_reserve(tq_cache *c, size_t n, tq_block_table *before) {
    tq_status status = TQ_OK;
    *before = c->blocks;
    if (n > c->blocks.room) status = widen(&c->blocks, &c->allocator, entries_for(c, n));
    while (status == TQ_OK && c->blocks.n < n)
        status = add_block(c);
    if (status != TQ_OK) tq_blocks_rollback(c, before);
    return status;
}

void tq_blocks_commit(tq_cache *c, const tq_block_table *before) {
    if (c->blocks.room != before->room) give_table(&c->allocator, before);
}

void tq_blocks_rollback(tq_cache *c, const tq_block_table *before) {
    drop_blocks(c, before->n);
    if (c->blocks.room != before->room) give_table(&c->allocator, &c->blocks);
    c->blocks = *before;
}

void tq_blocks_release(tq_cache *c) {
    drop_blocks(c, 0);
    give_table(&c->allocator, &c->blocks);
}

void tq_blocks_copy(const tq_cache *from, tq_cache *to) {
    for (size_t i = 0; i < to->blocks.n; i++)
        memcpy(to->blocks.codes[TQ_K][i], from->blocks.codes[TQ_K][i], to->shape.bytes);
}

static tq_block block_at(const tq_cache *c, size_t i) {
    return c->pool != NULL ? tq_pool_page(c->pool, c->pages[i]) : tq_block_table_at(&c->blocks, i);
}

uint64_t tq_cache_placed_from(const tq_cache *c, uint64_t end) {
    const uint64_t paged = c->pool == NULL ? 0 : c->sinks + c->first_page * c->shape.rows;
    return tq_most(paged, tq_less(end, c->slots));
}

size_t tq_cache_slot(const tq_cache *c, uint64_t position) {
    const uint64_t encoded = position - c->sinks;
    if (c->pool != NULL) return (size_t)(encoded - c->first_page * c->shape.rows);
    return (size_t)(encoded % c->slots);
}

tq_place tq_cache_place(const tq_cache *c, unsigned side, uint64_t position, size_t head) {
    const tq_plan *plan = &c->plan[side];
    const size_t rows = c->shape.rows, slot = tq_cache_slot(c, position), row = slot % rows;
    const size_t vector = head * rows + row;
    const tq_block b = block_at(c, slot / rows);
    return (tq_place){b.codes[side] + vector * plan->row_bytes, b.norms[side] + vector * plan->norm_bytes,
                      rows - row};
}
