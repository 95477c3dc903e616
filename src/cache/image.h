/* SPDX-License-Identifier: MIT
 * An image: an exported block as docs/block.md lays it out, its header as numbers, and where its parts
 * begin. Inside, `block` is what a cache's memory comes in (cache.h). */
#ifndef TQ_CACHE_IMAGE_H
#define TQ_CACHE_IMAGE_H

#include "cache/cache.h"
#include "tqkv/block.h"

/* Its parts, in order; keys before values in each. */
typedef enum tq_image_part {
    TQ_PART_CENTRE, /* [stretches][G][D] float16 */
    TQ_PART_SINKS,  /* [G][rows][D], of tq_image_half_type() */
    TQ_PART_RECENT, /* likewise */
    TQ_PART_NORMS,  /* [G][rows][norm_bytes]: float16 of v2, float32 of v1 */
    TQ_PART_CODES,  /* [G][rows][row_bytes]; a dense side's are halves too */
    TQ_PARTS
} tq_image_part;

typedef struct tq_image {
    tq_cache_block info;
    tq_plan plan[TQ_SIDES]; /* as a cache's: dense sides have dim and row_bytes */
    size_t at[TQ_PARTS][TQ_SIDES];
    size_t rows[TQ_PARTS]; /* a head's; of centres, stretches */
} tq_image;

/* Finds sizes and places from info and plans; false: more than an address can hold. */
bool tq_image_lay_out(tq_image *b);

/* The header, for an image whose parts are there or come next; and at last its hash. */
void tq_image_write_header(const tq_image *b, uint8_t *bytes);
void tq_image_seal(const tq_image *b, uint8_t *bytes);

/* All checks that need no cache; errors as tq_cache_block_info() has them. */
tq_status tq_image_read(tq_image *b, const uint8_t *bytes, size_t n);

static inline const tq_codec *tq_image_codec(const tq_image *b, unsigned side) {
    return side == TQ_K ? &b->info.layer.k : &b->info.layer.v;
}

static inline tq_store tq_image_store(const tq_image *b, unsigned side) {
    return side == TQ_K ? b->info.layer.k_store : b->info.layer.v_store;
}

#endif
