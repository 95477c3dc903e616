/* SPDX-License-Identifier: MIT
 * What comes before tq_attend(), or beside its beginning: queries as operands, products with centres, and
 * many sequences' work laid out. Beside it: float16. And after it: partial results put together. C and
 * CUDA. */
#ifndef TQ_CUDA_PREPARE_H
#define TQ_CUDA_PREPARE_H

#include "attend/attend.h"
#include "launch.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Query rows as the model has them: element (token, head, d). */
typedef struct tq_prepare_queries {
    const void *data;
    uint64_t token, head;
    uint32_t type;
} tq_prepare_queries;

typedef struct tq_prepare_args {
    tq_attend_args attend;
    tq_cuda_plan k_plan;
    tq_prepare_queries q;
    uint32_t rotate;             /* queries are to be rotated for codes */
    uint32_t columns;            /* rows of a block: 8, or 4 whose low parts are beside them; or many */
    uint32_t many;               /* operands are rows, for the kernel of many */
    uint32_t twice;              /* low parts behind the others */
    uint32_t code_group, linear; /* how codes of keys come: format_of in attend.cuh */
    float code_scale, scale;     /* of products to scores: with codes, with centres */
    uint32_t multiprocessors;
    uint32_t early; /* kernels may begin while the one before them ends, where cards know how */
    uint32_t *operands;
    tq_attend_cut *cut;
    uint32_t *starts;
    tq_attend_sequence *plan;
    /* centres */
    const uint16_t *centre;
    const int32_t *centre_tables;
    uint64_t centre_table_stride;
    float *bias;
    /* of the launch */
    uint32_t query_blocks, chunks;
} tq_prepare_args;

/* Attention over sinks and recent positions in float16. */
typedef struct tq_dense_args {
    tq_attend_args attend;
    tq_prepare_queries q;
    uint32_t k_dim, v_dim, early;
    float scale;    /* of products to scores */
    uint32_t chunk; /* positions in shared memory at once; tq_cuda_ready_dense() fills it in */
} tq_dense_args;

/* Where results go: rows [tokens][heads][E], strides in elements. */
typedef struct tq_merge_args {
    tq_attend_args attend;
    tq_cuda_plan v_plan;
    uint32_t v_dim, columns, multiprocessors, early;
    uint32_t rotate;                    /* sums of codes are to be rotated back */
    uint32_t many, value_group, linear; /* they come in the order of values' codes */
    uint32_t type, base2;
    void *out;
    uint64_t token, head;
    float *lse, *max, *sum; /* [tokens][heads]; sum not NULL: results are left open */
    const float *sinks;     /* logits, a head */
} tq_merge_args;

enum { TQ_MERGE_MOST = 64 };

typedef struct tq_merge_partials_args {
    const float *acc[TQ_MERGE_MOST], *max[TQ_MERGE_MOST], *sum[TQ_MERGE_MOST];
    uint32_t partials, heads, dim, base2, out_type;
    uint64_t rows;
    const float *sinks;
    void *out;
    float *lse;
} tq_merge_partials_args;

/* What may fail of tq_cuda_launch_dense() before anything is enqueued. A cudaError_t. */
int tq_cuda_ready_dense(tq_dense_args *args);

/* Each enqueues and returns a cudaError_t. */
int tq_cuda_launch_prepare(const tq_prepare_args *args, void *stream);
int tq_cuda_launch_dense(const tq_dense_args *args, void *stream);
int tq_cuda_launch_merge(const tq_merge_args *args, void *stream);
int tq_cuda_launch_merge_partials(const tq_merge_partials_args *args, void *stream);

/* What this device's copy of the kernels compiled ahead is for: 90 is compute capability 9.0. A build for
 * older ones alone serves newer devices too, through its PTX. A cudaError_t. */
int tq_cuda_compiled_for(int *capability);

/* A kernel that was compiled ahead; NULL: there is none. */
typedef struct tq_attend_shape {
    uint32_t k_dim, v_dim, k_format, v_format, accuracy, any_layout, shared_kib;
} tq_attend_shape;
const void *tq_cuda_attend_built_in(const tq_attend_shape *shape);

/* The same of the kernels of many rows. */
typedef struct tq_prefill_shape {
    uint32_t k_dim, v_dim, k_format, v_format, team, any_layout, shared_kib;
} tq_prefill_shape;
const void *tq_cuda_prefill_built_in(const tq_prefill_shape *shape);

#ifdef __cplusplus
}
#endif

#ifdef __cplusplus
/* Brings a kernel's arguments to the constant cache at once, not line by line as they are asked for. */
template <class T> __device__ static void touch_arguments(const T &arguments) {
    constexpr unsigned LINE = 64, LINES = (sizeof(T) + LINE - 1) / LINE;
    static_assert(LINES <= 32, "a warp touches a line each");
    const unsigned i = threadIdx.x % 32;
    if (i < LINES) {
        const uint32_t x = ((const uint32_t *)&arguments)[i * (LINE / 4)];
        asm volatile("" ::"r"(x));
    }
}
#endif
#endif
