/* SPDX-License-Identifier: MIT
 * What the host hands to the kernels: plain numbers and device pointers, checked before. C and CUDA. */
#ifndef TQ_CUDA_LAUNCH_H
#define TQ_CUDA_LAUNCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where the tables of all formats lie in the device's memory. */
enum { TQ_CUDA_BOOKS = 11, TQ_CUDA_ODD = 3, TQ_CUDA_WEIGHTS = 128, TQ_CUDA_V1_MOST = 6 };

/* A stretch of magnitudes with one boundary at most: their rank is `below`, and one more above that. */
typedef struct tq_cuda_cell {
    uint32_t boundary; /* a float's bits; of infinity: none */
    uint32_t below;
} tq_cuda_cell;

/* A format at a head dimension, as tq_plan has it. */
typedef struct tq_cuda_plan {
    uint32_t dim, bits;
    uint32_t ranked; /* v1's codes: ranks */
    uint32_t packing;
    uint32_t v1, n_norms;
    uint32_t norm_rule;
    float unit, norm_scale;
    const float *levels; /* [2^bits] by stored code */
    const float *tree;   /* [2^(bits-1)] boundaries above zero as a search tree */
    float few[8];        /* the same where there are no more than seven: of up to 4 bits */
    /* encoders; cell i is what is nearest to i / cells_per_unit */
    const tq_cuda_cell *cells;
    const float
        *weights; /* [2^(bits-1)] what v2's centroids add to the norm's sum: squares, or themselves */
    uint32_t n_cells, cells_per_unit;
    /* rotation */
    uint32_t scale_last, n_odd;
    float tilt, scale;
    uint32_t odd[TQ_CUDA_ODD];
    const float *cas[TQ_CUDA_ODD];
    uint8_t signs[128];
} tq_cuda_plan;

/* Vectors of a head and token: element (t, g, d) at data[t * token + g * head + d]. */
typedef struct tq_cuda_vectors {
    const void *data;
    uint32_t type; /* tq_type */
    uint64_t token, head;
} tq_cuda_vectors;

/* An array in pages: byte offsets. */
typedef struct tq_cuda_place {
    uint8_t *data;
    uint64_t row, head, page;
} tq_cuda_place;

typedef struct tq_cuda_centres {
    const uint16_t *values; /* NULL: none */
    uint64_t n, stretch;
} tq_cuda_centres;

/* From a thread's vector to its next one, among outer times inner; set by the launch. */
typedef struct tq_cuda_step {
    uint32_t outer, inner;
} tq_cuda_step;

typedef struct tq_cuda_encode_side {
    tq_cuda_plan plan;
    tq_cuda_vectors src;
    tq_cuda_place codes, norms;
    tq_cuda_centres centre;
    unsigned long long *fault; /* NULL: nobody wants to know */
} tq_cuda_encode_side;

typedef struct tq_cuda_encode_args {
    tq_cuda_encode_side side[2];
    uint64_t tokens, heads, page_rows, slots; /* tokens times heads: less than 2^31 */
    const int64_t *slot_of;                   /* NULL: (first_slot + t) % slots */
    uint64_t first_slot;
    const int64_t *position_of; /* NULL: first_position + t */
    uint64_t first_position;
    uint32_t multiprocessors;
    tq_cuda_step step;
} tq_cuda_encode_args;

typedef struct tq_cuda_decode_args {
    tq_cuda_plan plan;
    uint64_t rows, heads;
    const uint8_t *codes, *norms;
    uint64_t code_row, code_head, norm_row, norm_head;
    const uint16_t *centre;
    uint64_t stretch, centre_first;
    uint32_t original; /* domain */
    uint32_t type;
    void *dst;
    uint64_t dst_row, dst_head; /* elements */
    uint32_t multiprocessors;
    tq_cuda_step step;
} tq_cuda_decode_args;

typedef struct tq_cuda_rotate_args {
    tq_cuda_plan plan;
    uint64_t rows;
    uint32_t out; /* back to the original domain */
    const float *src;
    float *dst;
    uint32_t multiprocessors;
    tq_cuda_step step;
} tq_cuda_rotate_args;

typedef struct tq_cuda_requantize_args {
    tq_cuda_plan plan;
    uint64_t n;
    const float *src;
    float *dst;
} tq_cuda_requantize_args;

/* Each enqueues one launch and returns a cudaError_t. `sides`: of the encoding, both of one dim. */
int tq_cuda_launch_encode(const tq_cuda_encode_args *args, unsigned sides, void *stream);
int tq_cuda_launch_decode(const tq_cuda_decode_args *args, void *stream);
int tq_cuda_launch_rotate(const tq_cuda_rotate_args *args, void *stream);
int tq_cuda_launch_requantize(const tq_cuda_requantize_args *args, void *stream);

#ifdef __cplusplus
}
#endif
#endif
