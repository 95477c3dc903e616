/* SPDX-License-Identifier: MIT
 * Reads a view of keys or values: where its vectors lie and how they become float32. */
#ifndef TQ_ATTENTION_READER_H
#define TQ_ATTENTION_READER_H

#include "codec/centre.h"
#include "tqkv/attention.h"

typedef struct tq_view_reader {
    tq_view view; /* strides filled in */
    tq_plan plan; /* codes alone */
    size_t heads, length;
    uint64_t first_position;
    size_t dim;
    size_t row_bytes;
    const char *name; /* "k" or "v", for messages */
} tq_view_reader;

/* Checks a view of a segment's positions, of n_kv_heads, and prepares it. */
tq_status tq_view_reader_init(tq_view_reader *reader, const char *name, const tq_view *view,
                              size_t n_kv_heads, const tq_segment *segment, uint32_t head_dim);

static inline bool tq_view_is_encoded(const tq_view_reader *reader) {
    return reader->view.store == TQ_STORE_CODES;
}

/* The centre of a head's keys at a position, as float16, and how many of *n positions from there on share
 * it; NULL: they have none. */
const uint16_t *tq_view_centre(const tq_view_reader *reader, size_t head, size_t position, size_t *n);

/* Products of `rows` queries [rows][dim] with positions [first, first + n) of a head: scores [rows][..]
 * with n_stride floats from row to row. Encoded keys want rotated queries. */
void tq_view_score(const tq_view_reader *reader, const tq_kernels *kernels, size_t head, size_t first,
                   size_t n, size_t rows, const float *queries, float *scores, size_t n_stride);

/* acc[r] += sum over those positions of weights[r][t] times the vector. Weights are used up. */
void tq_view_accumulate(const tq_view_reader *reader, const tq_kernels *kernels, size_t head,
                        size_t first, size_t n, size_t rows, float *weights, size_t n_stride, float *acc,
                        size_t acc_stride);

#endif
