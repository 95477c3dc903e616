/* SPDX-License-Identifier: MIT
 * Reads a view of keys or values: where its vectors lie and how they become float32. */
#ifndef TQ_ATTENTION_READER_H
#define TQ_ATTENTION_READER_H

#include "attention/kind.h"
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

/* Where rows of a chunk lie, and those after it. Offsets of rows that lie evenly stay for the next chunk;
 * a zeroed one has none yet. */
typedef struct tq_view_offsets {
    size_t stride; /* 0: they lie as they do */
    uintptr_t of[TQ_ATTEND_CHUNK + TQ_ROWS_AHEAD];
} tq_view_offsets;

/* The codes of positions [first, first + n) of a head, as kernels take them, and those after them that
 * are there; n is TQ_ATTEND_CHUNK at most. */
tq_code_rows tq_view_rows(const tq_view_reader *reader, size_t head, size_t first, size_t n,
                          tq_view_offsets *offsets);

/* Products of `rows` queries [rows][dim] with these positions: scores [rows][..] with n_stride floats
 * from row to row. Encoded keys want rotated queries. */
void tq_view_score(const tq_view_reader *reader, const tq_kernels *kernels, size_t head, size_t first,
                   size_t n, tq_view_offsets *offsets, size_t rows, const float *queries, float *scores,
                   size_t n_stride);

/* acc[r] += sum over those positions of weights[r][t] times the vector. Weights are used up. */
void tq_view_accumulate(const tq_view_reader *reader, const tq_kernels *kernels, size_t head,
                        size_t first, size_t n, tq_view_offsets *offsets, size_t rows, float *weights,
                        size_t n_stride, float *acc, size_t acc_stride);

/* What the centroids of these positions' codes are multiplied by; n is TQ_ATTEND_CHUNK at most. `scales`
 * has room for a multiple of 16. */
void tq_view_scales(const tq_view_reader *reader, const tq_kernels *kernels, size_t head, size_t first,
                    size_t n, float *scales);

/* Whether its codes have centroids in integers. */
static inline bool tq_view_has_digits(const tq_view_reader *reader) {
    return tq_view_is_encoded(reader) && reader->plan.book->digits != NULL;
}

/* The two above in integers. Rows of query digits lie query_stride bytes apart. */
void tq_view_score_digits(const tq_view_reader *reader, const tq_kernels *kernels, size_t head,
                          size_t first, size_t n, tq_view_offsets *offsets, size_t rows,
                          const void *queries, size_t query_stride, float *scores, size_t n_stride);

/* A row's weights become whole numbers, the largest of them the largest there is. Of positions whose bit
 * in `seen`, from `bit` on, is not set the row knows nothing, not even a NaN; NULL: it sees all. */
void tq_view_accumulate_digits(const tq_view_reader *reader, const tq_kernels *kernels, size_t head,
                               size_t first, size_t n, tq_view_offsets *offsets, size_t rows,
                               float *weights, size_t n_stride, const uint64_t *seen, size_t bit,
                               float *acc, size_t acc_stride);

#endif
