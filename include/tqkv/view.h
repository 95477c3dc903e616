/* SPDX-License-Identifier: MIT
 * Keys and values where they lie: codes of any format, float32, float16 or bfloat16, contiguous, in
 * rings, in pages of a pool or in blocks anywhere.
 *
 * tq_view_codes() and tq_view_dense() make a view of arrays that lie side by side, tq_view_paged() one of
 * a pool of pages; caches give theirs (cache.h). What lies otherwise is a field more: see tq_view.
 *
 * Letters: G KV heads, D head dimension. Nothing is owned or copied. */
#ifndef TQKV_VIEW_H
#define TQKV_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/codec.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How the vectors of a view are stored. */
typedef enum tq_store {
    TQ_STORE_CODES = 0, /**< codes and norms of a format */
    TQ_STORE_F32 = 1,
    TQ_STORE_F16 = 2, /**< IEEE binary16 */
    TQ_STORE_BF16 = 3 /**< bfloat16 */
} tq_store;

/** Vectors of G heads where they lie; nothing is owned.
 *
 * Logical position i lies in slot (ring_start + i) % capacity. With pages, slot s is row s % page_rows of
 * page pages[s / page_rows] of the pool that data and norms are. With blocks, it is row s % page_rows of
 * blocks[s / page_rows], which lie anywhere. Either way row and head strides count within a page. */
typedef struct tq_view {
    tq_store store;
    tq_codec codec;         /**< head_dim always; format and scale_factor_d512 for codes */
    const void *data;       /**< codes, or values */
    size_t data_bytes;      /**< bytes there */
    const void *norms;      /**< codes: [..][norm_bytes] of tq_row_size(), at any address; else NULL */
    size_t n_norms;         /**< bytes there */
    const uint16_t *centre; /**< codes of keys: float16 [n_centres][G][D], original domain, what was
                                 subtracted before encoding; its products with the queries are added to
                                 the scores. NULL: nothing was. Other views: NULL (TQ_E_FORMAT) */
    size_t n_centres;       /**< at least 1 with a centre (TQ_E_SIZE) */
    size_t centre_stretch;  /**< L: positions that share a centre; 0: all do, and there is one
                                 (TQ_E_POSITION). The absolute
                                 position p (first_position of the segment on) has number
                                 p / L % n_centres, so that a ring of them will do; two of the segment's
                                 stretches must not fall on one (TQ_E_POSITION) */
    const int32_t *centre_table; /**< not NULL: [n_centre_table], and p has the centre
                                      centre_table[p / L % n_centre_table], below n_centres */
    size_t n_centre_table;
    size_t capacity;        /**< slots per head, at least 1 */
    size_t ring_start;      /**< below capacity */
    size_t row_stride;      /**< of data, in bytes; 0: rows side by side */
    size_t head_stride;     /**< of data, in bytes; 0: heads side by side (within a page, with pages) */
    size_t norm_row_stride; /**< in bytes; 0: side by side */
    size_t norm_head_stride;
    const int32_t *pages; /**< block table; NULL: no pages */
    size_t n_pages;       /**< entries of pages or blocks; at least capacity / page_rows, rounded up */
    size_t page_rows;     /**< positions that a page or block holds */
    size_t page_stride;   /**< of data, in bytes, from a page to the next, which do not overlap
                               (TQ_E_STRIDE); 0: side by side, be heads or positions outermost in one */
    size_t norm_page_stride;
    size_t pool_pages; /**< pages that data holds: all entries of pages that capacity takes, also those
                            behind the length, are not negative and lie below it (TQ_E_POSITION) */
    const void *const *blocks;      /**< [n_pages] in place of data, data_bytes being there in each; NULL:
                                       none. Not together with pages (TQ_E_POSITION) */
    const void *const *norm_blocks; /**< codes: [n_pages] in place of norms, n_norms in each */
    tq_domain domain; /**< dense vectors: the domain that these vectors are in, which must be that
                           of the call (TQ_E_DOMAIN). Codes are rotated, whatever is said here */
} tq_view;

/** Makes a view of codes that lie side by side. Fields that are not named here become 0: no ring, no
 * centre, no pages; set them afterwards where there is one.
 *
 * view         out
 * codec        format and D; scale_factor_d512 for v1 at D = 512 (norm_rule is not looked at)
 * n_kv_heads   G
 * capacity     slots a head, at least 1: positions of an array, or all that the pages of a pool have
 * codes        [G][capacity][code_bytes]; n_codes bytes are there
 * norms        [G][capacity][norm_bytes]; n_norms bytes are there
 *
 * TQ_E_NULL, TQ_E_FORMAT, TQ_E_HEAD_DIM, TQ_E_SCALE_FACTOR, TQ_E_HEADS, TQ_E_POSITION (capacity),
 * TQ_E_OVERFLOW, TQ_E_SIZE (field "codes" or "norms"); view untouched on failure. */
TQ_API tq_status tq_view_codes(tq_view *view, const tq_codec *codec, size_t n_kv_heads, size_t capacity,
                               const void *codes, size_t n_codes, const void *norms, size_t n_norms);

/** The same for vectors that are not encoded.
 *
 * view       out; in the original domain: set `domain` afterwards where it is not so
 * type       of the values
 * head_dim   D: a multiple of 16 from 32 to 1024
 * values     [G][capacity][D], aligned as their type; n_values elements are there
 *
 * TQ_E_NULL, TQ_E_FORMAT (type), TQ_E_HEAD_DIM, TQ_E_HEADS, TQ_E_POSITION (capacity), TQ_E_OVERFLOW,
 * TQ_E_SIZE (field "values"); view untouched on failure. */
TQ_API tq_status tq_view_dense(tq_view *view, tq_type type, uint32_t head_dim, size_t n_kv_heads,
                               size_t capacity, const void *values, size_t n_values);

/** Turns a view of a whole pool into one of some of its pages.
 *
 * view        in and out: of tq_view_codes() or tq_view_dense(), its capacity being the slots of the
 *             pool, a multiple of page_rows. The pool lies [capacity / page_rows][G][page_rows][..].
 *             The capacity becomes n_pages * page_rows
 * pages       [n_pages] block table, read by each call that is given the view: it may be written to
 *             between them. NULL with n_pages 0: none, as tq_attention_batch.pool wants it
 * page_rows   positions of a page, at least 1
 *
 * TQ_E_NULL, TQ_E_POSITION (page_rows; a table without entries; a view that has pages, blocks or a ring
 * start), TQ_E_STRIDE (a view with strides of its own), TQ_E_OVERFLOW; view untouched on failure. */
TQ_API tq_status tq_view_paged(tq_view *view, const int32_t *pages, size_t n_pages, size_t page_rows);

/** A run of consecutive positions with their keys and values, which may be stored differently. */
typedef struct tq_segment {
    tq_view k, v;
    size_t length;           /**< positions; logical 0 to length - 1 of both views. 0 is fine */
    uint64_t first_position; /**< absolute position of logical 0 */
} tq_segment;

#ifdef __cplusplus
}
#endif
#endif
