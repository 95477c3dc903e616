/* SPDX-License-Identifier: MIT
 * Two kinds of layers: the default formats fast, by few rows and by many, and tq4 exact. */
#include "kernels.h"

#include "attend/attend.cuh"
#include "attend/prefill.cuh"

enum { SHARED = 227, DIM = 64 };

template <int K, int V, int ACCURACY> struct few {
    static constexpr auto kernel = tq_attend_beside<DIM, DIM, K, V, ACCURACY, 0, SHARED>;
    enum { THREADS = layer<DIM, DIM, K, V, ACCURACY, 0, SHARED>::THREADS };
};
template <int K, int V, int TEAM> struct many {
    static constexpr auto kernel = tq_prefill<DIM, DIM, K, V, TEAM, 0, SHARED>;
    enum { THREADS = prefill_layer<DIM, DIM, K, V, TEAM, 0, SHARED>::THREADS };
};
using fast = few<6, 4, TQ_ATTEND_FAST>;
using exact = few<4, 4, TQ_ATTEND_EXACT_FEW>;
using alone = many<6, 4, 1>;
using together = many<6, 4, TQ_PREFILL_WARPS>;

unsigned emulator::threads_of(const void *kernel) {
    return kernel == (const void *)fast::kernel    ? fast::THREADS
           : kernel == (const void *)exact::kernel ? exact::THREADS
           : kernel == (const void *)alone::kernel ? alone::THREADS
                                                   : together::THREADS;
}

extern "C" const void *tq_cuda_attend_built_in(const tq_attend_shape *s) {
    if (s->any_layout || s->k_dim != DIM || s->v_dim != DIM || s->v_format != 4) return nullptr;
    if (s->k_format == 6 && s->accuracy == TQ_ATTEND_FAST) return (const void *)fast::kernel;
    if (s->k_format == 4 && s->accuracy == TQ_ATTEND_EXACT_FEW) return (const void *)exact::kernel;
    return nullptr;
}

extern "C" const void *tq_cuda_prefill_built_in(const tq_prefill_shape *s) {
    if (s->any_layout || s->k_dim != DIM || s->v_dim != DIM || s->k_format != 6 || s->v_format != 4)
        return nullptr;
    return s->team == 1 ? (const void *)alone::kernel : (const void *)together::kernel;
}
