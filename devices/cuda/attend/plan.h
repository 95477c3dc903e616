/* SPDX-License-Identifier: MIT
 * A planned kind of layer on a device. */
#ifndef TQ_CUDA_ATTEND_PLAN_H
#define TQ_CUDA_ATTEND_PLAN_H

#include "attend/prepare.h"
#include "device.h"
#include "tqkv/cuda_attention.h"

struct tq_cuda_attention {
    const tq_cuda *cuda;
    tq_attention_config layer; /* v_head_dim, max_sequences and max_queries filled in */
    tq_attend_shape shape;
    uint32_t group, centre_stretch;
    bool dense;             /* float16 beside codes */
    tq_plan k_plan, v_plan; /* but for v1's scale factor, which a view has */
    tq_cuda_plan k_device, v_device;
    const uint32_t *k_table, *v_table;
    float k_factor, v_factor;
    const void *kernel;
    void *library; /* of a kernel that was not built in */
    unsigned threads, shared_bytes;
};

/* Rows of a KV head that the kernel works on together. */
static inline uint32_t tq_attend_columns(const tq_cuda_attention *p) {
    return p->shape.accuracy == TQ_ATTEND_EXACT_FEW ? TQ_ATTEND_COLUMNS / 2 : TQ_ATTEND_COLUMNS;
}

/* Where things lie in the workspace, in bytes. */
typedef struct tq_attend_memory {
    size_t cut, starts, plan, operands, bias, partial, dense_partial, total;
} tq_attend_memory;

/* A run of so many sequences and items: sequences times KV heads times blocks of rows. TQ_E_OVERFLOW. */
tq_status tq_attend_place(const tq_cuda_attention *p, size_t sequences, size_t items, size_t stretches,
                          tq_attend_memory *memory);

/* Whether launches count that far: the line's units, rows and items of a sequence. */
static inline bool tq_attend_counts(const tq_cuda_attention *p, uint64_t sequences, uint64_t queries) {
    enum { MOST = 1 << 20 }; /* quotient() in attend/piece.cuh */
    const uint64_t columns = tq_attend_columns(p), units = p->layer.max_positions / TQ_ATTEND_TILE + 3;
    if (queries > MOST || p->group * queries > MOST) return false;
    const uint64_t items = p->layer.n_kv_heads * ((p->group * queries - 1) / columns + 1);
    return items <= MOST && sequences <= (UINT32_MAX - 64) / items / units;
}

/* Words of an item's operands. */
static inline uint32_t tq_attend_operand_words(const tq_cuda_attention *p) {
    return p->layer.head_dim / 16 * 64 * (p->shape.accuracy == TQ_ATTEND_EXACT ? 2 : 1) +
           TQ_ATTEND_COLUMNS;
}

#endif
