/* SPDX-License-Identifier: MIT
 * What the public calls check before they touch data: pointers, sizes, overlaps. */
#ifndef TQ_BASE_CHECK_H
#define TQ_BASE_CHECK_H

#include <stdbool.h>

#include "base/arch.h"
#include "tqkv/status.h"

#define TRY(call)                                                                                        \
    do {                                                                                                 \
        const tq_status status_ = (call);                                                                \
        if (status_ != TQ_OK) return status_;                                                            \
    } while (0)

/* An array of a batch: heads x rows pieces of `length` elements, `size` bytes each. */
typedef struct tq_rows {
    const char *name; /* the argument, for messages */
    const void *data;
    size_t size;   /* of an element */
    size_t length; /* of a row, in elements */
    size_t heads, rows;
    size_t head_stride, row_stride; /* in elements */
} tq_rows;

/* Fills in strides of 0, checks that pieces keep apart and lie within n elements.
 * TQ_E_NULL, TQ_E_STRIDE, TQ_E_OVERFLOW, TQ_E_SIZE. */
tq_status tq_rows_check(tq_rows *r, size_t n);

/* TQ_E_OVERLAP if the pieces of the two may share bytes. Pieces that interleave with the same strides,
 * such as codes followed by their norm, are apart. */
tq_status tq_rows_check_apart(const tq_rows *a, const tq_rows *b);

/* Bytes from the first piece to the end of the last. */
size_t tq_rows_bytes(const tq_rows *r);

/* Where piece (head, row) starts, in elements. */
static inline size_t tq_rows_at(const tq_rows *r, size_t head, size_t row) {
    return head * r->head_stride + row * r->row_stride;
}

tq_status tq_check_domain(tq_domain domain);

/* TQ_E_FORMAT */
tq_status tq_check_type(const char *name, tq_type type);

static inline size_t tq_type_size(tq_type type) {
    return type == TQ_F32 ? sizeof(float) : sizeof(uint16_t);
}

tq_status tq_check_not_null(const char *name, const void *pointer);

/* A caller's struct that may grow, into the one of `known` bytes that this library has; both begin with
 * their size. What an older caller does not have is 0; what a newer one has must be 0. TQ_E_NULL,
 * TQ_E_SIZE if the size has not been set, TQ_E_UNSUPPORTED. */
tq_status tq_take_struct(const char *name, const void *from, void *to, size_t known);

/* The other way: as much as the caller, whose size it has, knows, and 0 in what it knows and we do not.
 */
tq_status tq_give_struct(const char *name, const void *from, size_t known, void *to);

/* TQ_E_OVERLAP unless [a, a + a_bytes) and [b, b + b_bytes) are apart. */
tq_status tq_check_apart(const char *a_name, const void *a, size_t a_bytes, const char *b_name,
                         const void *b, size_t b_bytes);

/* rows * row_size elements of `size` bytes each are addressable. TQ_E_OVERFLOW; *bytes is optional. */
tq_status tq_check_product(const char *name, size_t rows, size_t row_size, size_t size, size_t *bytes);

#endif
