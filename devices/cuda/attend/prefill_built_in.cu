/* SPDX-License-Identifier: MIT
 * The layers whose kernels of many rows come with the library: those of built_in.cu that are fast. */
#include "attend/prepare.h"

#include "attend/prefill.cuh"

#define FORMATS(X, D, TEAM) X(D, 4, 4, TEAM) X(D, 6, 4, TEAM) X(D, 8, 8, TEAM)
#define TEAMS(X, D)         FORMATS(X, D, 1) FORMATS(X, D, TQ_PREFILL_WARPS)
#define LAYERS(X)           TEAMS(X, 64) TEAMS(X, 128) TEAMS(X, 256)

enum { SHARED = 227 };

extern "C" const void *tq_cuda_prefill_built_in(const tq_prefill_shape *s) {
    if (s->any_layout || s->shared_kib != SHARED || s->k_dim != s->v_dim) return nullptr;
#define X(D, K, V, TEAM)                                                                                 \
    if (s->k_dim == D && s->k_format == K && s->v_format == V && s->team == TEAM)                        \
        return (const void *)tq_prefill<D, D, K, V, TEAM, 0, SHARED>;
    LAYERS(X)
#undef X
    return nullptr;
}
