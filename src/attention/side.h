/* SPDX-License-Identifier: MIT
 * One side of a segment, keys or values: where its vectors lie and how they become float32. */
#ifndef TQ_ATTENTION_SIDE_H
#define TQ_ATTENTION_SIDE_H

#include "codec/plan.h"
#include "tqkv/attention.h"

typedef struct tq_side {
    tq_view view; /* strides filled in */
    tq_plan plan; /* codes alone */
    size_t length;
    size_t dim;
    size_t row_bytes;
    const char *name; /* "k" or "v", for messages */
} tq_side;

/* Checks a view of `length` positions of n_kv_heads and prepares it. */
tq_status tq_side_init(tq_side *side, const char *name, const tq_view *view, size_t n_kv_heads,
                       size_t length, uint32_t head_dim);

static inline bool tq_side_is_encoded(const tq_side *side) {
    return side->view.store == TQ_STORE_CODES;
}

/* Logical positions [first, first + n) of a head, decoded side by side to tile [n][dim]. */
void tq_side_decode(const tq_side *side, const tq_kernels *kernels, size_t head, size_t first, size_t n,
                    float *tile);

/* Asks for the same positions, as far as there are so many, to be brought near while others are at work.
 */
void tq_side_fetch(const tq_side *side, size_t head, size_t first, size_t n);

#endif
