/* SPDX-License-Identifier: MIT
 * A planned kind of layer on a device. */
#ifndef TQ_CUDA_ATTEND_PLAN_H
#define TQ_CUDA_ATTEND_PLAN_H

#include "attend/prepare.h"
#include "device.h"
#include "tqkv/cuda_attention.h"

/* A kernel that is ready: one block an SM. */
typedef struct tq_attend_kernel {
    const void *function; /* NULL: there is none */
    void *library;        /* of one that was not built in */
    unsigned threads, shared_bytes;
    bool beside; /* its blocks leave room for others */
} tq_attend_kernel;

struct tq_cuda_attention {
    const tq_cuda *cuda;
    tq_attention_config layer; /* v_head_dim, max_sequences and max_queries filled in */
    tq_attend_shape shape;
    uint32_t group, centre_stretch;
    bool dense; /* float16 beside codes */
    bool ahead; /* what was compiled ahead knows 9.0: built-in kernels are there, and those of a
                   run may begin before the one before has ended */
    tq_plan k_plan, v_plan; /* but for v1's scale factor, which a view has */
    tq_cuda_plan k_device, v_device;
    const uint32_t *k_table, *v_table;
    float k_factor, v_factor;
    tq_attend_kernel few, many; /* for calls of few rows a KV head, and of TQ_PREFILL_FROM and more */
    uint32_t many_rows;         /* of a block of the latter */
};

/* What NVRTC compiles for the kernels of few or of many rows; for free(). NULL: no memory. */
char *tq_attend_text(bool many);

/* Rows of a KV head that the kernel works on together. */
static inline uint32_t tq_attend_columns(const tq_cuda_attention *p) {
    return p->shape.accuracy == TQ_ATTEND_EXACT_FEW ? TQ_ATTEND_COLUMNS / 2 : TQ_ATTEND_COLUMNS;
}

/* Whether a run of so many rows a KV head is the other kernel's. */
static inline bool tq_attend_is_many(const tq_cuda_attention *p, size_t rows) {
    return p->many.function != NULL && rows >= TQ_PREFILL_FROM;
}

/* Rows that a run of the kernel of many works on together, in eights. */
static inline uint32_t tq_attend_many_columns(const tq_cuda_attention *p, size_t rows) {
    return rows < p->many_rows ? (uint32_t)(rows + 7) / 8 * 8 : p->many_rows;
}

/* Where things lie in the workspace, in bytes. */
typedef struct tq_attend_memory {
    size_t cut, starts, plan, operands, bias, partial, dense_partial, total;
} tq_attend_memory;

/* What there is of a run: rows of all blocks, `columns` a block with those that are only there to fill
 * it, and of blocks of float16, TQ_ATTEND_COLUMNS each. */
typedef struct tq_attend_size {
    size_t sequences, rows, columns, dense_rows, stretches;
} tq_attend_size;

/* TQ_E_OVERFLOW. */
tq_status tq_attend_place(const tq_cuda_attention *p, const tq_attend_size *size,
                          tq_attend_memory *memory);

/* Whether launches count that far: the line's units, rows and items of a sequence. */
static inline bool tq_attend_counts(const tq_cuda_attention *p, uint64_t sequences, uint64_t queries) {
    enum { MOST = 1 << 20 }; /* quotient() in attend/piece.cuh */
    const uint64_t columns = tq_attend_columns(p), units = p->layer.max_positions / TQ_ATTEND_TILE + 3;
    if (queries > MOST || p->group * queries > MOST) return false;
    const uint64_t items = p->layer.n_kv_heads * ((p->group * queries - 1) / columns + 1);
    return items <= MOST && sequences <= (UINT32_MAX - 64) / items / units;
}

/* Words of a row's operands, its scale among them. */
static inline uint32_t tq_attend_operand_words(const tq_cuda_attention *p) {
    return p->layer.head_dim / 2 * (p->shape.accuracy == TQ_ATTEND_EXACT ? 2 : 1) + 1;
}

#endif
