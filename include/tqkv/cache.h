/* SPDX-License-Identifier: MIT
 * A layer's KV cache: keys and values encoded as they come, and handed to tq_attention() as they lie.
 *
 * Letters: G KV heads, D head dimension, n positions of a call. A position is counted from 0, the first
 * one appended. Where its vectors lie, oldest first:
 *
 * - sinks: positions below `sinks`, in float16, never encoded
 * - codes: encoded positions, in one array (global), a ring, or pages of a pool
 * - recent: the last `recent` positions, in float16 until they age out and are encoded, exactly once.
 *   With it (or learn_centre) every position is encoded from what it is in float16
 *
 * Whatever was appended, the codes and norms are the same however it was cut into calls.
 *
 * Accuracy class: exact. A cache is used by one thread at a time; several may attend to its segments
 * while nobody changes it. Caches of a pool count as one for that. */
#ifndef TQKV_CACHE_H
#define TQKV_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/attention.h"
#include "tqkv/codec.h"
#include "tqkv/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What a cache does with positions that outnumber its memory. */
typedef enum tq_cache_policy {
    TQ_CACHE_GLOBAL = 0, /**< keeps all; its memory grows up to `capacity`, then appending fails */
    TQ_CACHE_RING = 1,   /**< keeps the last `capacity`; memory is taken at once */
    TQ_CACHE_PAGED = 2   /**< keeps all up to `capacity`, in pages of a pool that others use too */
} tq_cache_policy;

/** How the vectors of a layer are kept. Zero-initialise and set what is wanted. */
typedef struct tq_cache_layer {
    uint32_t n_kv_heads; /**< G, at least 1 */
    tq_codec k, v;       /**< formats and norm rules; both with the same head_dim */
} tq_cache_layer;

typedef struct tq_cache tq_cache;
typedef struct tq_page_pool tq_page_pool;

/** What a cache is. Zero-initialise and set what is wanted. */
typedef struct tq_cache_config {
    tq_cache_policy policy;
    tq_cache_layer layer;  /**< paged: n_kv_heads 0 takes the pool's; anything else must equal it
                                (TQ_E_POLICY) */
    size_t capacity;       /**< positions of every kind, at least 1, at least `window`, `recent` and
                                `learn_centre`. Global: what is never reached takes no memory */
    size_t window;         /**< ring: a query looks back on so many positions up to its own, at most
                                `capacity`; 0: on all of `capacity`. It decides how far a rewind may
                                go. Other policies: 0 */
    size_t recent;         /**< last positions kept in float16; 0: none */
    size_t sinks;          /**< first positions kept in float16; 0: none */
    const float *k_centre; /**< [G][D], subtracted from keys before encoding, copied; NULL: none */
    size_t learn_centre; /**< the mean of this many first keys, as they are in float16, summed in order in
                              double precision, becomes the centre; zeros for heads in which it has less
                              than half of the keys' mean square, since it would not hold for later ones.
                              Until they are there positions stay in float16. 0: none is learned, as it
                            must be with k_centre (TQ_E_POSITION); at most `capacity` */
    tq_page_pool *pool;  /**< paged: must outlive the cache; otherwise NULL */
    const tq_parallel *parallel;   /**< copied: threads for encoding; NULL: the calling one alone */
    const tq_allocator *allocator; /**< copied; NULL: the C library's */
} tq_cache_config;

/** What docs/choosing.md comes to for models of which nothing else is known. The centre is learned from
 * as many positions as stay in float16 anyway, and so takes no memory but its own. */
#define TQ_DEFAULT_K_FORMAT     TQ_TQ6
#define TQ_DEFAULT_V_FORMAT     TQ_TQ4
#define TQ_DEFAULT_LEARN_CENTRE 64
#define TQ_DEFAULT_RECENT       64

/** A configuration with these defaults, to be used as it is or changed: policy TQ_CACHE_GLOBAL, no pool,
 * no sinks; learn_centre and recent at most `capacity`. What is wrong with the arguments,
 * tq_cache_create() tells. */
TQ_API tq_cache_config tq_cache_config_default(uint32_t n_kv_heads, uint32_t head_dim, size_t capacity);

/** Fills in a way to keep keys and values from its name, such as "tq6/tq4+centre+recent=64".
 *
 * name     FORMAT for keys and values alike, or KFORMAT/VFORMAT, as tq_format_from_name() knows them.
 *          Then any of these, each once, in any order; N, R and S are whole numbers of 1 or more:
 *          +centre[=N]   learn_centre, TQ_DEFAULT_LEARN_CENTRE unless a number is given
 *          +recent[=R]   recent, TQ_DEFAULT_RECENT unless a number is given
 *          +sinks[=S]    sinks, 4 unless a number is given
 *          +plain, +matched, +unbiased   the norm rule of keys and values; v2 formats only
 * config   in and out: formats and norm rules, learn_centre, recent and sinks become what the name
 *          says, those that it leaves out the default rule and 0; all the rest stays
 *
 * TQ_E_NULL; TQ_E_FORMAT: no such format or suffix, or a centre of v1 keys; TQ_E_NORM_RULE: two rules, or
 * one for a v1 format; TQ_E_POSITION: a suffix twice, or its number. tq_last_error() says what is wrong,
 * its field is "name" and its index the place in the name. On failure config is as before. What does not
 * fit the rest of config tq_cache_create() tells. */
TQ_API tq_status tq_cache_config_from_name(const char *name, tq_cache_config *config);

/** Makes an empty cache.
 *
 * config   see above
 * cache    out; NULL on failure. For tq_cache_destroy()
 *
 * TQ_E_NULL, TQ_E_HEADS, TQ_E_POSITION (capacity, window, recent, learn_centre), TQ_E_POLICY (no such
 * policy, or a field of another one), whatever is wrong with the codecs, TQ_E_OVERFLOW, TQ_E_NOT_FINITE
 * and TQ_E_RANGE (field "k_centre", with the index), TQ_E_NO_MEMORY. */
TQ_API tq_status tq_cache_create(const tq_cache_config *config, tq_cache **cache);

/** Gives everything back; pages return to their pool. NULL: nothing to do. */
TQ_API void tq_cache_destroy(tq_cache *cache);

/** Appends n positions.
 *
 * k, v   [n][G][D] float32, original domain, finite and at most TQ_MAX_ABS; with sinks, recent or
 *        learn_centre at most 65504 too, float16's largest. n = 0: nothing to do
 *
 * A ring keeps the last `capacity` positions. For attention over a chunk of n queries at once it needs a
 * capacity of at least window + n - 1, so that the first of them finds all it looks back on.
 * TQ_E_NULL; TQ_E_POSITION if there is no room (global, paged); TQ_E_OVERFLOW; TQ_E_NOT_FINITE and
 * TQ_E_RANGE with field "k" or "v" and the index; TQ_E_NO_MEMORY, also for a pool without free pages. On
 * failure the cache is what it was.
 * Cost: O(n G D log D); allocates when a global cache grows or a page is taken. */
TQ_API tq_status tq_cache_append(tq_cache *cache, size_t n, const float *k, const float *v);

/** Forgets all positions from `length` on (speculative decoding throws tokens away).
 *
 * What has been encoded stays so. The centre stays. Pages left without positions return to their pool.
 * TQ_E_NULL; TQ_E_POSITION if length is beyond what is there, or a ring has overwritten positions from
 * max(0, length + 1 - window) to length - 1, which the next query would look back on (rewinding to 0 is
 * always possible). On failure the cache is what it was. No allocation. */
TQ_API tq_status tq_cache_truncate(tq_cache *cache, uint64_t length);

/** Forgets everything, a learned centre too; memory is kept, pages return to their pool. NULL is fine. */
TQ_API void tq_cache_clear(tq_cache *cache);

/** Positions appended and not forgotten: the absolute position of the next one. 0 for NULL. */
TQ_API uint64_t tq_cache_length(const tq_cache *cache);

/** The oldest position that is still there, sinks not counted; the length when there is none. At least
 * min(sinks, length), and more once a ring has overwritten some. 0 for NULL. */
TQ_API uint64_t tq_cache_first(const tq_cache *cache);

/** Positions below this one are encoded or sinks, those from it on are in float16. 0 for NULL. */
TQ_API uint64_t tq_cache_encoded_end(const tq_cache *cache);

/** The centre that encoded keys lack, [G][D], NULL while there is none. Segments come with it. Valid as
 * long as the cache. */
TQ_API const float *tq_cache_k_centre(const tq_cache *cache);

#define TQ_CACHE_SEGMENTS 3 /**< most that tq_cache_segments() gives */

/** The cache as tq_attention() takes it: sinks, codes, recent, less those that are empty.
 *
 * segments     [TQ_CACHE_SEGMENTS] out; valid until the cache changes
 * n_segments   out
 *
 * In rings sinks that are older than the last `capacity` positions are not given. Float16 segments are in
 * the original domain: use TQ_ORIGINAL unless neither sinks, recent nor learn_centre are set. TQ_E_NULL.
 */
TQ_API tq_status tq_cache_segments(const tq_cache *cache, tq_segment segments[TQ_CACHE_SEGMENTS],
                                   size_t *n_segments);

/** A step of attention: the newest n_queries positions, which have been appended, on what the cache
 * holds.
 *
 * params   as for tq_attention(). What the cache knows may be left 0 and must not contradict it:
 *          n_kv_heads, head_dim, query_end (the cache's length), window (a ring's: its window or, without
 *          one, its capacity; a smaller one is fine). domain is TQ_ORIGINAL unless neither sinks, recent
 *          nor learn_centre are set
 * q, out, lse, workspace   as for tq_attention()
 *
 * As tq_attention(), and TQ_E_HEADS, TQ_E_HEAD_DIM or TQ_E_POSITION where params contradict the cache, or
 * a ring no longer holds what the first of the queries looks back on. Several threads may do so at a
 * time while nobody changes the cache. */
TQ_API tq_status tq_cache_attend(const tq_cache *cache, const tq_attention_params *params, const float *q,
                                 float *out, float *lse, void *workspace, size_t workspace_bytes);

/** Bytes of workspace that it wants, a multiple of 64; they grow with the cache. Errors likewise; *bytes
 * untouched on failure. */
TQ_API tq_status tq_cache_attend_workspace(const tq_cache *cache, const tq_attention_params *params,
                                           size_t *bytes);

/** Bytes, part by part. `held` is what was asked from the allocator; `used` what present positions fill.
 */
typedef struct tq_cache_bytes {
    size_t k_codes, k_norms, v_codes,
        v_norms;             /**< held. Paged: pages of the cache, shared ones in full */
    size_t k_dense, v_dense; /**< held: float16 of sinks and recent positions */
    size_t centre;           /**< held */
    size_t table;            /**< held: block table */
    size_t object;           /**< held: the cache itself */
    size_t held;             /**< the sum of the above */
    size_t shared;           /**< of held: pages that other caches use too */
    size_t used;             /**< codes, norms and float16 of the positions that segments give */
} tq_cache_bytes;

/** Fills in *bytes. Without pages, `held` is exactly what the allocator has given and not got back.
 * TQ_E_NULL. */
TQ_API tq_status tq_cache_count_bytes(const tq_cache *cache, tq_cache_bytes *bytes);

/** A pool of pages for caches of one kind. Zero-initialise and set what is wanted. */
typedef struct tq_page_pool_config {
    tq_cache_layer layer;
    size_t n_pages;                /**< at least 1, below 2^32 */
    size_t page_rows;              /**< positions of a page, at least 1 */
    const tq_allocator *allocator; /**< copied; NULL: the C library's */
} tq_page_pool_config;

/** Makes a pool; all memory is taken at once. pool: out, NULL on failure.
 *
 * TQ_E_NULL, TQ_E_HEADS, TQ_E_SIZE (n_pages, page_rows), errors of the codecs, TQ_E_OVERFLOW,
 * TQ_E_NO_MEMORY. */
TQ_API tq_status tq_page_pool_create(const tq_page_pool_config *config, tq_page_pool **pool);

/** Gives the memory back. Caches that use the pool must be gone. NULL: nothing to do. */
TQ_API void tq_page_pool_destroy(tq_page_pool *pool);

/** Pages nobody uses; 0 for NULL. */
TQ_API size_t tq_page_pool_free_pages(const tq_page_pool *pool);

/** Bytes held from the allocator; 0 for NULL. */
TQ_API size_t tq_page_pool_bytes(const tq_page_pool *pool);

/** Makes a cache with the first `length` positions of a paged one. Full pages are shared, not copied, and
 * counted; the last, part-filled one is copied when either cache writes to it. Sinks and recent positions
 * are copied, and so is the centre.
 *
 * from     policy TQ_CACHE_PAGED
 * length   at most tq_cache_length(from)
 * cache    out; NULL on failure
 *
 * TQ_E_NULL, TQ_E_POLICY, TQ_E_POSITION, TQ_E_NO_MEMORY. On failure `from` is what it was. */
TQ_API tq_status tq_cache_fork(const tq_cache *from, uint64_t length, tq_cache **cache);

#ifdef __cplusplus
}
#endif
#endif
