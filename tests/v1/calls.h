/* SPDX-License-Identifier: MIT
 * One set of arguments for the 4-bit and the higher-bit functions of v1, so that a test is written once.
 */
#ifndef TESTS_V1_CALLS_H
#define TESTS_V1_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/guard.h"
#include "support/rng.h"
#include "tqkv/v1.h"

typedef struct v1_call {
    bool hb; /* the functions with codebook_bits */
    bool null_params;
    uint32_t bits;
    uint32_t head_dim, heads, position, capacity;
    uint32_t norms_per_pos; /* decoders */
    uint32_t is_sliding;    /* encoders */
    float scale_factor;
    size_t n_tokens; /* sequence form */
    uint8_t *packed;
    size_t packed_bytes;
    float *norms;
    size_t n_norms;
    float *dense; /* dst of decoders, src of encoders */
    size_t n_dense;
} v1_call;

typedef tq_status v1_function(const v1_call *call);
v1_function v1_dequantize, v1_quantize, v1_quantize_seq;

/* A call with everything in order and no buffers; n_tokens is 1. */
v1_call v1_call_of(unsigned bits, uint32_t head_dim, uint32_t heads, uint32_t capacity);

/* Bytes and floats that the shape asks for, per position and head and in all. */
size_t v1_row_bytes(const v1_call *c);
size_t v1_packed_bytes(const v1_call *c);
size_t v1_norms(const v1_call *c);

/* Guarded buffers of the call's shape plus `spare` elements each, entered into the call. */
typedef struct v1_buffers {
    guard packed, norms, dense;
} v1_buffers;

v1_buffers v1_buffers_for(v1_call *c, size_t spare);
void v1_buffers_free(v1_buffers *b);

extern const uint32_t v1_all_bits[4];
extern const uint32_t v1_all_dims[2];

#endif
