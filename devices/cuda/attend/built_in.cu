/* SPDX-License-Identifier: MIT
 * The layers whose kernels come with the library: common head dimensions, one format of 4 bits and one of
 * 8, and what caches are by default. Others are compiled when they are planned for. */
#include "attend/prepare.h"

#include "attend/attend.cuh"

/* K and V formats; accuracy */
#define FORMATS(X, D)                                                                                    \
    X(D, 4, 4, TQ_ATTEND_FAST)                                                                           \
    X(D, 4, 4, TQ_ATTEND_EXACT_FEW)                                                                      \
    X(D, 6, 4, TQ_ATTEND_FAST)                                                                           \
    X(D, 8, 8, TQ_ATTEND_FAST)
#define LAYERS(X)                                                                                        \
    FORMATS(X, 64)                                                                                       \
    FORMATS(X, 128)                                                                                      \
    FORMATS(X, 256)

enum { SHARED = 227 };

template <int D, int K, int V, int ACCURACY> static const void *kernel_of() {
    if constexpr (TQ_ATTEND_BESIDE_REGISTERS(D, D, K, V, ACCURACY, SHARED) > 0)
        return (const void *)tq_attend_beside<D, D, K, V, ACCURACY, 0, SHARED>;
    else
        return (const void *)tq_attend<D, D, K, V, ACCURACY, 0, SHARED>;
}

extern "C" const void *tq_cuda_attend_built_in(const tq_attend_shape *s) {
    if (s->any_layout || s->shared_kib != SHARED || s->k_dim != s->v_dim) return nullptr;
#define X(D, K, V, ACCURACY)                                                                             \
    if (s->k_dim == D && s->k_format == K && s->v_format == V && s->accuracy == ACCURACY)                \
        return kernel_of<D, K, V, ACCURACY>();
    LAYERS(X)
#undef X
    return nullptr;
}
