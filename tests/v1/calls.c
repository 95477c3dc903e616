/* SPDX-License-Identifier: MIT
 * One set of arguments for the 4-bit and the higher-bit functions of v1. */
#include "calls.h"

const uint32_t v1_all_bits[4] = {4, 5, 6, 8};
const uint32_t v1_all_dims[2] = {256, 512};

tq_status v1_dequantize(const v1_call *c) {
    if (c->hb) {
        tq_dequantize_hb_kv_params p = {c->head_dim,      c->heads,        c->position, c->capacity,
                                        c->norms_per_pos, c->scale_factor, c->bits};
        return tq_dequantize_hb_kv(c->null_params ? NULL : &p, c->packed, c->packed_bytes, c->norms,
                                   c->n_norms, c->dense, c->n_dense);
    }
    tq_dequantize_kv_params p = {c->head_dim, c->heads,         c->position,
                                 c->capacity, c->norms_per_pos, c->scale_factor};
    return tq_dequantize_kv(c->null_params ? NULL : &p, c->packed, c->packed_bytes, c->norms, c->n_norms,
                            c->dense, c->n_dense);
}

static tq_hadamard_quantize_kv_params encoder_params(const v1_call *c) {
    tq_hadamard_quantize_kv_params p = {c->head_dim, c->heads,      c->position,
                                        c->capacity, c->is_sliding, c->scale_factor};
    return p;
}

static tq_hadamard_quantize_hb_kv_params encoder_hb_params(const v1_call *c) {
    tq_hadamard_quantize_hb_kv_params p = {c->head_dim,   c->heads,        c->position, c->capacity,
                                           c->is_sliding, c->scale_factor, c->bits};
    return p;
}

tq_status v1_quantize(const v1_call *c) {
    if (c->hb) {
        tq_hadamard_quantize_hb_kv_params p = encoder_hb_params(c);
        return tq_hadamard_quantize_hb_kv(c->null_params ? NULL : &p, c->dense, c->n_dense, c->packed,
                                          c->packed_bytes, c->norms, c->n_norms);
    }
    tq_hadamard_quantize_kv_params p = encoder_params(c);
    return tq_hadamard_quantize_kv(c->null_params ? NULL : &p, c->dense, c->n_dense, c->packed,
                                   c->packed_bytes, c->norms, c->n_norms);
}

tq_status v1_quantize_seq(const v1_call *c) {
    if (c->hb) {
        tq_hadamard_quantize_hb_kv_params p = encoder_hb_params(c);
        return tq_hadamard_quantize_hb_kv_seq(c->null_params ? NULL : &p, c->dense, c->n_dense,
                                              c->n_tokens, c->packed, c->packed_bytes, c->norms,
                                              c->n_norms);
    }
    tq_hadamard_quantize_kv_params p = encoder_params(c);
    return tq_hadamard_quantize_kv_seq(c->null_params ? NULL : &p, c->dense, c->n_dense, c->n_tokens,
                                       c->packed, c->packed_bytes, c->norms, c->n_norms);
}

v1_call v1_call_of(unsigned bits, uint32_t head_dim, uint32_t heads, uint32_t capacity) {
    v1_call c = {0};
    c.hb = bits != 4;
    c.bits = bits;
    c.head_dim = head_dim;
    c.heads = heads;
    c.capacity = capacity;
    c.norms_per_pos = head_dim / 256;
    c.scale_factor = 1.0f;
    c.n_tokens = 1;
    return c;
}

size_t v1_row_bytes(const v1_call *c) {
    return c->hb ? c->head_dim : c->head_dim / 2;
}

size_t v1_packed_bytes(const v1_call *c) {
    return (size_t)c->heads * c->capacity * v1_row_bytes(c);
}

size_t v1_norms(const v1_call *c) {
    return (size_t)c->heads * c->capacity * (c->head_dim / 256);
}

v1_buffers v1_buffers_for(v1_call *c, size_t spare) {
    v1_buffers b;
    c->packed_bytes = v1_packed_bytes(c) + spare;
    c->n_norms = v1_norms(c) + spare;
    c->n_dense = c->n_tokens * c->heads * c->head_dim + spare;
    b.packed = guard_new(c->packed_bytes);
    b.norms = guard_new(c->n_norms * sizeof(float));
    b.dense = guard_new(c->n_dense * sizeof(float));
    c->packed = b.packed.data;
    c->norms = b.norms.data;
    c->dense = b.dense.data;
    return b;
}

void v1_buffers_free(v1_buffers *b) {
    guard_free(&b->packed);
    guard_free(&b->norms);
    guard_free(&b->dense);
}
