/* SPDX-License-Identifier: MIT
 * The arrays of a batch of vectors, of any device: shapes, strides and sizes, checked together. */
#ifndef TQ_FORMAT_ARRAYS_H
#define TQ_FORMAT_ARRAYS_H

#include "base/check.h"
#include "format/plan.h"

/* A caller's array: n elements of `size` bytes each. */
typedef struct tq_array {
    const char *name; /* the argument, for messages */
    const void *data;
    size_t size, n;
} tq_array;

typedef struct tq_batch_arrays {
    tq_rows dense, codes, norms;
    tq_rows centre; /* [stretches][G][D] float16; its data NULL if there is none */
} tq_batch_arrays;

/* The centre of a position: which of several, each of which serves `stretch` positions (0: all). */
static inline uint64_t tq_stretch_of(uint64_t position, size_t stretch) {
    return stretch == 0 ? 0 : position / stretch;
}

/* Of a batch that is not empty; codes and norms count in bytes. Fills in strides of 0. TQ_E_NULL,
 * TQ_E_STRIDE, TQ_E_OVERFLOW, TQ_E_SIZE. */
tq_status tq_batch_arrays_init(tq_batch_arrays *arrays, const tq_plan *plan, const tq_batch *batch,
                               tq_array dense, tq_array codes, tq_array norms, tq_array centre);

#endif
