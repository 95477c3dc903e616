/* SPDX-License-Identifier: MIT
 * Keys and values where they lie: codes of any format, float32, float16 or bfloat16, contiguous, in
 * rings, in pages of a pool or in blocks anywhere.
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
    const float *norms;     /**< codes: [..][norms]; else NULL */
    size_t n_norms;         /**< floats there */
    const float *centre;    /**< codes of keys: [G][D], original domain, what was subtracted before
                                 encoding; its products with the queries are added to the scores. NULL:
                                 nothing was. Other views: NULL (TQ_E_FORMAT) */
    size_t capacity;        /**< slots per head, at least 1 */
    size_t ring_start;      /**< below capacity */
    size_t row_stride;      /**< of data, in bytes; 0: rows side by side */
    size_t head_stride;     /**< of data, in bytes; 0: heads side by side (within a page, with pages) */
    size_t norm_row_stride; /**< in floats; 0: side by side */
    size_t norm_head_stride;
    const int32_t *pages; /**< block table; NULL: no pages */
    size_t n_pages;       /**< entries of pages or blocks; at least capacity / page_rows, rounded up */
    size_t page_rows;     /**< positions that a page or block holds */
    size_t page_stride;   /**< of data, in bytes, from a page to the next; 0: side by side */
    size_t norm_page_stride;
    size_t pool_pages; /**< pages that data holds: entries of pages are not negative and lie below it */
    const void *const *blocks; /**< [n_pages] in place of data, data_bytes being there in each; NULL:
                                  none. Not together with pages (TQ_E_POSITION) */
    const float *const *norm_blocks; /**< codes: [n_pages] in place of norms, n_norms in each */
    tq_domain domain; /**< float16 and float32: the domain that these vectors are in, which must be that
                           of the call (TQ_E_DOMAIN). Codes are rotated, whatever is said here */
} tq_view;

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
