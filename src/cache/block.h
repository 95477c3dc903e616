/* SPDX-License-Identifier: MIT
 * A block as docs/block.md lays it out: its header as numbers, and where its parts begin. */
#ifndef TQ_CACHE_BLOCK_H
#define TQ_CACHE_BLOCK_H

#include "cache/cache.h"
#include "tqkv/block.h"

/* Parts of a block, in order; keys before values in each. */
typedef enum tq_block_part {
    TQ_PART_CENTRE, /* [G][D] float32 */
    TQ_PART_SINKS,  /* [G][rows][D] float16 */
    TQ_PART_RECENT, /* likewise */
    TQ_PART_NORMS,  /* [G][rows][norms] float32 */
    TQ_PART_CODES,  /* [G][rows][row_bytes] */
    TQ_PARTS
} tq_block_part;

typedef struct tq_block {
    tq_cache_block info;
    tq_plan plan[TQ_SIDES];
    size_t at[TQ_PARTS][TQ_SIDES];
    size_t rows[TQ_PARTS]; /* a head's */
} tq_block;

/* Finds sizes and places from info and plans; false: more than an address can hold. */
bool tq_block_lay_out(tq_block *b);

/* The header, for a block whose parts are there or come next; and at last its hash. */
void tq_block_write_header(const tq_block *b, uint8_t *bytes);
void tq_block_seal(const tq_block *b, uint8_t *bytes);

/* All checks that need no cache; errors as tq_cache_block_info() has them. */
tq_status tq_block_read(tq_block *b, const uint8_t *bytes, size_t n);

static inline const tq_codec *tq_block_codec(const tq_block *b, unsigned side) {
    return side == TQ_K ? &b->info.layer.k : &b->info.layer.v;
}

/* Where an encoded position of a head lies in a cache, and how many positions lie side by side from it
 * on. */
typedef struct tq_code_run {
    uint8_t *codes;
    float *norms;
    size_t n;
} tq_code_run;

static inline tq_code_run tq_code_run_at(const tq_cache *c, unsigned side, uint64_t position,
                                         size_t head) {
    const tq_code_arrays *a = c->pool == NULL ? &c->arrays : &c->pool->arrays;
    const size_t slot = (size_t)((position - c->sinks) % c->slots), row = slot % a->rows;
    const size_t page = c->pool == NULL ? 0 : c->table[slot / a->rows];
    const size_t at = (page * c->heads + head) * a->rows + row;
    return (tq_code_run){a->codes[side] + at * c->plan[side].row_bytes,
                         a->norms[side] + at * c->plan[side].n_norms, a->rows - row};
}

#endif
