/* SPDX-License-Identifier: MIT
 * A layer's KV cache: keys and values encoded as they come, and handed to tq_attention() as they lie.
 *
 * Letters: G KV heads, D head dimension, n positions of a call. A position is counted from 0, the first
 * one appended. Where its vectors lie, oldest first:
 *
 * - sinks: positions below `sinks`, in float16, never encoded, never forgotten
 * - codes: encoded positions, in blocks of 128 (global), a ring, or pages of a pool
 * - recent: the last `recent` positions, in float16 until they age out and are encoded, exactly once.
 *   With it (or learn_centre) every position is encoded from what it is in float16
 *
 * Whatever was appended, the codes and norms are the same however it was cut into calls, unless it was
 * rewound in between: what is encoded keeps the centre that it has.
 *
 * Accuracy class: exact. A cache is used by one thread at a time; several may attend to its segments
 * while nobody changes it. Caches of a pool may be used by a thread each, also where they share pages; an
 * allocator that they share must bear that. */
#ifndef TQKV_CACHE_H
#define TQKV_CACHE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tqkv/attention.h"
#include "tqkv/codec.h"
#include "tqkv/status.h"
#include "tqkv/view.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What a cache does with positions that outnumber its memory. */
typedef enum tq_cache_policy {
    TQ_CACHE_GLOBAL = 0, /**< keeps all up to `capacity`, in blocks that are taken as they are needed;
                              nothing that has been written moves */
    TQ_CACHE_RING = 1,   /**< keeps the sinks and the last `capacity`; memory is taken at once */
    TQ_CACHE_PAGED = 2   /**< in pages of a pool that others use too: keeps all up to `capacity`, or, with
                              a window, what a ring keeps; pages that hold nothing else then go back */
} tq_cache_policy;

/** How the vectors of a layer are kept. Zero-initialise and set what is wanted. */
typedef struct tq_cache_layer {
    uint32_t n_kv_heads;       /**< G, at least 1 */
    tq_codec k, v;             /**< formats and norm rules; their head_dim may differ */
    tq_store k_store, v_store; /**< TQ_STORE_CODES, which is 0; or the side is dense, TQ_STORE_F16 or
                                    TQ_STORE_BF16: its vectors lie where codes would, in that type, its
                                    sinks and recent positions too. Of its codec head_dim alone is looked
                                    at, within what v2 serves. Dense keys have no centre */
} tq_cache_layer;

typedef struct tq_cache tq_cache;
typedef struct tq_page_pool tq_page_pool;

/** What a cache is. Zero-initialise and set what is wanted. */
typedef struct tq_cache_config {
    size_t size; /**< sizeof(tq_cache_config) (TQ_E_SIZE) */
    tq_cache_policy policy;
    tq_cache_layer layer;  /**< paged: n_kv_heads 0 takes the pool's; anything else must equal it
                                (TQ_E_POLICY) */
    size_t capacity;       /**< positions of every kind, at least 1, at least `window`, `recent` and
                                `learn_centre`. Global: what is never reached takes no memory */
    size_t window;         /**< ring: a query looks back on so many positions up to its own, at most
                                `capacity`; 0: on all of `capacity`. It decides how far a rewind may
                                go. Paged: likewise, and 0: on all there are. Global: 0 */
    size_t recent;         /**< last positions kept in float16; 0: none */
    size_t sinks;          /**< first positions kept in float16; 0: none. Rings and windows keep them
                                besides the last `capacity` (StreamingLLM, arXiv:2309.17453) */
    const float *k_centre; /**< [G][D], rounded to float16, subtracted from all keys before encoding; as
                                long as a key may be; copied; NULL: none */
    size_t learn_centre;   /**< the mean of this many first keys, as they are in float16, becomes the
                                centre, as tq_learn_centre() makes it; sinks do not count. Until they are
                                there positions stay in float16. 0: none is learned, as it must be with
                                k_centre (TQ_E_POSITION); at most `capacity` */
    size_t centre_stretch; /**< L: positions s L to s L + L - 1 have a centre of their own, of their own
                                first keys. 0: the first keys of all serve all. At least learn_centre
                                (TQ_E_POSITION) */
    tq_page_pool *pool;    /**< paged: must outlive the cache; otherwise NULL */
    const tq_parallel *parallel;   /**< copied: threads for encoding; NULL: the calling one alone */
    const tq_allocator *allocator; /**< copied; NULL: the C library's */
} tq_cache_config;

/** What docs/choosing.md comes to for models of which nothing else is known. A centre is learned from
 * as many positions as stay in float16 anyway, and so takes no memory but its own. */
#define TQ_DEFAULT_K_FORMAT       TQ_TQ6
#define TQ_DEFAULT_V_FORMAT       TQ_TQ4
#define TQ_DEFAULT_LEARN_CENTRE   64
#define TQ_DEFAULT_CENTRE_STRETCH 256
#define TQ_DEFAULT_RECENT         64
#define TQ_DEFAULT_SINKS          1

/** A configuration with these defaults, to be used as it is or changed: policy TQ_CACHE_GLOBAL, no pool,
 * learn_centre and recent at most `capacity`. What is wrong with the arguments,
 * tq_cache_create() tells. */
static inline tq_cache_config tq_cache_config_default(uint32_t n_kv_heads, uint32_t head_dim,
                                                      size_t capacity) {
    tq_cache_config c;
    memset(&c, 0, sizeof c);
    c.size = sizeof c;
    c.policy = TQ_CACHE_GLOBAL;
    c.layer.n_kv_heads = n_kv_heads;
    c.layer.k.format = TQ_DEFAULT_K_FORMAT;
    c.layer.v.format = TQ_DEFAULT_V_FORMAT;
    c.layer.k.head_dim = c.layer.v.head_dim = head_dim;
    c.capacity = capacity;
    c.recent = capacity < TQ_DEFAULT_RECENT ? capacity : TQ_DEFAULT_RECENT;
    c.learn_centre = capacity < TQ_DEFAULT_LEARN_CENTRE ? capacity : TQ_DEFAULT_LEARN_CENTRE;
    c.centre_stretch = TQ_DEFAULT_CENTRE_STRETCH;
    c.sinks = TQ_DEFAULT_SINKS;
    return c;
}

/** Fills in a way to keep keys and values from its name, such as "tq6/tq4+centre+recent=64+sinks".
 *
 * name     FORMAT for keys and values alike, or KFORMAT/VFORMAT, as tq_format_from_name() knows them.
 *          Then any of these, each once, in any order; N, R and S are whole numbers of 1 or more:
 *          +centre[=L]   centre_stretch, TQ_DEFAULT_CENTRE_STRETCH unless a number is given, or 0 for
 *                        +centre=all; learn_centre TQ_DEFAULT_LEARN_CENTRE, L if that is less
 *          +recent[=R]   recent, TQ_DEFAULT_RECENT unless a number is given
 *          +sinks[=S]    sinks, TQ_DEFAULT_SINKS unless a number is given
 *          +plain, +matched, +unbiased   the norm rule of keys and values; v2 formats only
 * config   in and out: formats and norm rules, learn_centre and centre_stretch, recent and sinks become
 * what the name says, those that it leaves out the default rule and 0; all the rest stays
 *
 * TQ_E_NULL; TQ_E_SIZE: config->size is not set; TQ_E_FORMAT: no such format or suffix, or a centre of v1
 * keys; TQ_E_NORM_RULE: two rules, or one for a v1 format; TQ_E_POSITION: a suffix twice, or its number.
 * tq_last_error() says what is wrong, its field is "name" and its index the place in the name. On failure
 * config is as before. What does not fit the rest of config tq_cache_create() tells. */
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
 * k, v   [n][G][D] float32, each of its D, original domain, finite and at most TQ_MAX_ABS; what is
 *        kept in float16 (with sinks, recent or learn_centre, or dense) at most 65504 too, the largest
 *        of that. What v2 encodes must be so short that float16
 *        is sure to hold its norm: a length of 3,800 always is with `matched`, 1,500 with `unbiased`,
 *        and mostly several times that; the error names the limit. n = 0: nothing to do
 *
 * A ring, or a paged cache with a window, takes any number of positions and keeps the last `capacity`.
 * For attention over a chunk of n queries at once it needs a capacity of at least window + n - 1, so that
 * the first of them finds all it looks back on.
 *
 * TQ_E_NULL; TQ_E_POSITION if there is no room (global, paged without a window); TQ_E_OVERFLOW;
 * TQ_E_NOT_FINITE and TQ_E_RANGE with field "k" or "v" and the index; TQ_E_NO_MEMORY, also for a pool
 * without free pages. On failure the cache is what it was.
 *
 * Cost: O(n G D log D). A global cache allocates a block for each 128 positions, and a larger table of
 * them now and then; a paged one takes pages. */
TQ_API tq_status tq_cache_append(tq_cache *cache, size_t n, const float *k, const float *v);

/** Vectors for a cache as they lie in a model's memory. Zero-initialise, set `size` and what is wanted.
 */
typedef struct tq_cache_input {
    size_t size;                             /**< sizeof(tq_cache_input) (TQ_E_SIZE) */
    tq_type type;                            /**< of k and v. What is not float32 is widened, exactly */
    const void *k, *v;                       /**< [n][G][D], aligned as their type */
    size_t n_k, n_v;                         /**< elements there */
    size_t k_position_stride, k_head_stride; /**< elements from a position to the next, from a head to the
                                                  next. 0: side by side, in the order [n][G][D]. Positions
                                                  outermost or heads, with any gaps (TQ_E_STRIDE): for the
                                                keys of a fused [n][H + 2G][D] let k begin at head H, and
                                                give (H + 2G) * D and 0 */
    size_t v_position_stride, v_head_stride;
} tq_cache_input;

/** The same for vectors of any type and order.
 *
 * Errors besides: TQ_E_SIZE (size; n_k or n_v too small), TQ_E_FORMAT (type), TQ_E_STRIDE. Indices are
 * those of elements of k or v. */
TQ_API tq_status tq_cache_append_input(tq_cache *cache, size_t n, const tq_cache_input *input);

/** Takes now what appends up to that length will need, so that they allocate nothing and find their
 * pages.
 *
 * positions   length of the cache up to which; at most `capacity`, or, with a window, any: pages for as
 *             many as are kept at a time are then taken, and go from old positions to new ones. Less than
 *             is encoded: nothing to do
 *
 * It lasts until the cache is cleared: rewinds and what is appended after them do not give it back. A
 * ring has all of its memory from the start. Pages that a fork shares are not this cache's alone: to
 * write to one takes a copy, and those that a rewind or the window leaves are not reserved any more.
 *
 * TQ_E_NULL, TQ_E_POSITION (beyond `capacity`), TQ_E_NO_MEMORY. On failure the cache is what it was. */
TQ_API tq_status tq_cache_reserve(tq_cache *cache, uint64_t positions);

/** Forgets all positions from `length` on (speculative decoding throws tokens away).
 *
 * Drafts that were a tree: of a path that leaves the first branch, what was appended in its order stays,
 * and the rest is appended once more behind it; its keys and values need not be computed again.
 *
 * What has been encoded stays so. A stretch keeps its centre while a position of it is left that was
 * encoded with it; rewound further, it learns another. Pages left without positions return to their pool,
 * unless they are reserved; a global cache keeps its blocks.
 *
 * TQ_E_NULL; TQ_E_POSITION if length is beyond what is there, or a ring or window has forgotten positions
 * from max(sinks, length + 1 - window) to length - 1, which the next query would look back on (rewinding
 * to 0 is always possible). On failure the cache is what it was. No allocation. */
TQ_API tq_status tq_cache_truncate(tq_cache *cache, uint64_t length);

/** Forgets everything, learned centres too; memory is kept, pages return to their pool. NULL is fine. */
TQ_API void tq_cache_clear(tq_cache *cache);

/** Positions appended and not forgotten: the absolute position of the next one. 0 for NULL. */
TQ_API uint64_t tq_cache_length(const tq_cache *cache);

/** The oldest position that is still there, sinks not counted; the length when there is none. At least
 * min(sinks, length), and more once a ring or window has forgotten some. 0 for NULL. */
TQ_API uint64_t tq_cache_first(const tq_cache *cache);

/** Positions below this one are encoded or sinks, those from it on are in float16. 0 for NULL. */
TQ_API uint64_t tq_cache_encoded_end(const tq_cache *cache);

/** The centre of the stretch that a position lies in, which its encoded keys lack, float16 [G][D]; NULL:
 * it has none, or not yet, or no more. Segments come with theirs. Valid until the cache changes. */
TQ_API const uint16_t *tq_cache_k_centre(const tq_cache *cache, uint64_t position);

#define TQ_CACHE_SEGMENTS 3 /**< most that tq_cache_segments() gives */

/** The cache as tq_attention() takes it: sinks, codes, recent, less those that are empty.
 *
 * segments     [TQ_CACHE_SEGMENTS] out; valid until the cache changes
 * n_segments   out
 *
 * Sinks are always given; in rings and with windows positions may be missing between them and the next
 * segment. Dense segments are in the original domain: use TQ_ORIGINAL unless all is codes. TQ_E_NULL.
 */
TQ_API tq_status tq_cache_segments(const tq_cache *cache, tq_segment segments[TQ_CACHE_SEGMENTS],
                                   size_t *n_segments);

/** A step of attention: the newest n_queries positions, which have been appended, on what the cache
 * holds.
 *
 * params   as for tq_attention(). What the cache knows may be left 0 and must not contradict it:
 *          n_kv_heads, head_dim, v_head_dim, query_end (the cache's length), window (the cache's, or the
 *          capacity of a ring without one; a smaller one is fine) and, with such a window, sink_positions
 *          (the cache's sinks, which every query then sees; a global cache has no window of its own, and
 *          takes sink_positions from params alone). domain is TQ_ORIGINAL unless all is codes
 * q, out, lse, workspace   as for tq_attention()
 *
 * As tq_attention(), and TQ_E_HEADS, TQ_E_HEAD_DIM or TQ_E_POSITION where params contradict the cache, or
 * a ring or window no longer holds what the first of the queries looks back on. Several threads may do so
 * at a time while nobody changes the cache. */
TQ_API tq_status tq_cache_attend(const tq_cache *cache, const tq_attention_params *params, const float *q,
                                 size_t n_q, float *out, size_t n_out, float *lse, size_t n_lse,
                                 void *workspace, size_t workspace_bytes);

/** Bytes of workspace that it wants, a multiple of 64; they grow with the cache. What any length wants
 * tq_attention_plan() says, for tq_cache_sequence() and tq_attention_run(). Errors likewise; *bytes
 * untouched on failure. */
TQ_API tq_status tq_cache_attend_workspace(const tq_cache *cache, const tq_attention_params *params,
                                           size_t *bytes);

/** The cache as a sequence of tq_attention_run(): its segments, and where its newest positions stand.
 *
 * n_queries   of the newest positions, which have been appended
 * segments    [TQ_CACHE_SEGMENTS] out, for the sequence to point to; valid until the cache changes
 * sequence    out
 *
 * The window is the kind's: for a cache that forgets it must not be more than the cache's, or 0 where
 * positions are lost (the run says TQ_E_POSITION). Its sink_positions should be the cache's sinks.
 * TQ_E_NULL. */
TQ_API tq_status tq_cache_sequence(const tq_cache *cache, size_t n_queries,
                                   tq_segment segments[TQ_CACHE_SEGMENTS], tq_sequence *sequence);

/** Bytes, part by part. `held` is what was asked from the allocator; `used` what present positions fill.
 */
typedef struct tq_cache_bytes {
    size_t size; /**< sizeof(tq_cache_bytes), set by the caller (TQ_E_SIZE) */
    size_t k_codes, k_norms, v_codes, v_norms; /**< held; of a dense side, its vectors. Paged: pages of
                                                  the cache, shared ones in full */
    size_t k_dense, v_dense;                   /**< held: sinks and recent positions */
    size_t centre; /**< held: centres, of as many stretches as may be needed */
    size_t table;  /**< held: block table */
    size_t object; /**< held: the cache itself */
    size_t held;   /**< the sum of the above */
    size_t shared; /**< of held: pages that other caches use too */
    size_t
        used; /**< codes, norms and float16 of the positions that segments give; centres are not in it */
} tq_cache_bytes;

/** Fills in *bytes. Without pages, `held` is exactly what the allocator has given and not got back.
 * TQ_E_NULL. */
TQ_API tq_status tq_cache_count_bytes(const tq_cache *cache, tq_cache_bytes *bytes);

/** A pool of pages for caches of one kind. Zero-initialise and set what is wanted. */
typedef struct tq_page_pool_config {
    size_t size; /**< sizeof(tq_page_pool_config) (TQ_E_SIZE) */
    tq_cache_layer layer;
    size_t n_pages;                /**< at least 1, below 2^31 */
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

/** Makes a cache with the first `length` positions of another, of the same configuration and allocator.
 *
 * from     stays as it is
 * length   one that tq_cache_truncate() would go back to
 * cache    out; NULL on failure. For tq_cache_destroy()
 *
 * Paged: pages are shared, not copied, and counted; the last, part-filled one is copied when either cache
 * writes to it. Everything else is copied: sinks, recent positions, centres, the codes of a global
 * cache or a ring. What is reserved is not taken over.
 *
 * A fork is also a snapshot: keep one of the present length, and go back to it, whatever was appended,
 * forgotten or overwritten since, by destroying the cache and going on with the fork, or with a fork of
 * it to be able to do so again.
 *
 * TQ_E_NULL, TQ_E_POSITION, TQ_E_NO_MEMORY. On failure `from` is what it was. Cost: a copy of what is not
 * shared. */
TQ_API tq_status tq_cache_fork(const tq_cache *from, uint64_t length, tq_cache **cache);

#ifdef __cplusplus
}
#endif
#endif
