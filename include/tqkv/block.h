/* SPDX-License-Identifier: MIT
 * A cache's positions as bytes that describe themselves: for another tier of memory, a store, another
 * process or another machine. docs/block.md has the layout.
 *
 * A block holds positions [first, end) as they are in the cache that it comes from: encoded ones as codes
 * and norms, with the centres of their stretches, sinks and recent ones in float16; of a dense side all
 * of them in its type. It says what the codes mean (formats, norm rules, hashes of the codebooks' and
 * rotations' tables) and ends with a hash of itself. How the cache keeps its memory is not in it: any
 * policy takes a block of any other. (The blocks of positions that a global cache grows by are another
 * thing.)
 *
 * - All of a cache: export [0, length), import into an empty cache of the same sinks, recent,
 *   learn_centre and centre_stretch. It goes on as the exported one would have, bit for bit.
 * - Chunks, such as prefixes of 256 positions: export each once it is encoded (up to
 *   tq_cache_encoded_end()), import one after the other, the rest in float16 last.
 *
 * Blocks may lie at any address. They are the same bytes on every machine.
 *
 * Accuracy class: exact. */
#ifndef TQKV_BLOCK_H
#define TQKV_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/cache.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What a block says of itself. Positions [first, sinks_end) are sinks, in float16; [codes_first,
 * codes_end) are encoded; [codes_end, end) are in float16. Where codes_first is above sinks_end, a ring
 * or window had forgotten what lies between. A dense side has all of them in its type. */
typedef struct tq_cache_block {
    size_t size;          /**< sizeof(tq_cache_block), set before the call (TQ_E_SIZE) */
    tq_cache_layer layer; /**< as tq_cache_create() takes it. Norm rules of codes are never
                               TQ_NORM_DEFAULT; scale_factor_d512 is 0 where it is not used, and of a
                               dense side's codec all but head_dim */
    uint64_t first, sinks_end, codes_first, codes_end, end;
    int has_k_centre;      /**< its encoded keys have a centre, which is in the block */
    size_t centre_stretch; /**< positions that share one, as tq_cache_config has it; 0: all, or none */
    size_t bytes;          /**< of the whole block */
} tq_cache_block;

/** Bytes of the block that tq_cache_export() writes for the same positions. *bytes is untouched on
 * failure. */
TQ_API tq_status tq_cache_export_size(const tq_cache *cache, uint64_t first, uint64_t end, size_t *bytes);

/** Writes positions [first, end) as a block.
 *
 * first   0: all that tq_cache_truncate(end) would leave; a ring's or window's may lack positions. Above
 *         0: a chunk, whose positions must all be there
 * end     at least first, at most tq_cache_length(cache)
 * block   out, `bytes` bytes at any address, outside the cache; tq_cache_export_size() bytes are written
 *
 * TQ_E_NULL, TQ_E_POSITION (field "first" or "end"), TQ_E_OVERFLOW, TQ_E_SIZE: nothing is written.
 * No allocation; the bytes are copied, and read once more for their hash. Several threads may do so at a
 * time while nobody changes the cache. */
TQ_API tq_status tq_cache_export(const tq_cache *cache, uint64_t first, uint64_t end, void *block,
                                 size_t bytes);

/** Reads a block without a cache, and checks it whole: the hash, every field, every float.
 *
 * block   `bytes` bytes at any address, no more and no fewer than it says it has
 * info    out, but for its size; untouched on failure
 *
 * TQ_E_NULL; TQ_E_SIZE (size); with the byte's offset as index: TQ_E_FILE_MAGIC, TQ_E_FILE_HEADER (a
 * version that this library does not read), TQ_E_FILE_TRUNCATED (fewer bytes or more),
 * TQ_E_FILE_CHECKSUM, TQ_E_FILE_FIELD (a field out of its range, tables that this library does not have,
 * a float that is none), TQ_E_FILE_SHAPE (positions or sizes that contradict each other). No allocation.
 * Reentrant. */
TQ_API tq_status tq_cache_block_info(const void *block, size_t bytes, tq_cache_block *info);

/** Appends a block's positions to a cache of the same layer: heads, head_dim, stores, formats, norm
 * rules.
 *
 * Codes are taken as they are, dense values too. Float16 positions become what they would if they were
 * appended: they are encoded as they age, and a centre is learned from them.
 *
 * block    as for tq_cache_block_info()
 *
 * Errors of tq_cache_block_info(); TQ_E_HEADS, TQ_E_FORMAT, TQ_E_HEAD_DIM, TQ_E_NORM_RULE,
 * TQ_E_SCALE_FACTOR where the layers differ; TQ_E_NO_MEMORY, also for a pool without free pages; and
 *
 * - TQ_E_FILE_FIELD, "k_centre": codes of keys without a centre, or with one, unlike the cache's; of
 *   other stretches; with another centre than the cache was given, or has for the stretch in which it
 *   stands
 * - TQ_E_RANGE, "sinks", "recent" or "k_centre", with the byte's offset: float16 vectors longer than
 *   tq_cache_append() takes
 * - TQ_E_POSITION, "first": the block does not begin at tq_cache_length(). A ring, or a paged cache with
 *   a window, also takes one that begins later, and then holds nothing older than the block but its
 *   sinks, which must be there
 * - TQ_E_POSITION, "end": more positions than the capacity, or more encoded ones than it has room for
 * - TQ_E_POSITION, "sinks": codes of positions that the cache keeps in float16, or sinks left out
 * - TQ_E_POSITION, "codes": codes behind positions in float16 that are no sinks of the cache; a block
 *   that lacks positions, for a cache that forgets none
 * - TQ_E_POSITION, "recent": positions in float16 for a cache that keeps none (recent and learn_centre
 *   are 0)
 *
 * On failure the cache is what it was, its memory too. Allocates what tq_cache_append() would. */
TQ_API tq_status tq_cache_import(tq_cache *cache, const void *block, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
