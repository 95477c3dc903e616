/* SPDX-License-Identifier: MIT
 * What no code on this machine can beat: streams of stores and copies, as fast as we know how to.
 *
 * The widest registers that the machine has are used whatever level the kernels beside run on: a limit
 * that moved with the level would flatter the slow ones. */
#include "limits.h"

#include <string.h>

#include "tqkv/cpu.h"

typedef void fill(float *dst, size_t n);

#if defined(__x86_64__)
#include <immintrin.h>

/* n is a multiple of 16. No byte pattern, so that no compiler makes a memset() of it. */
#define FILL(name, features, vector, value, put, lanes)                                                  \
    __attribute__((target(features))) static void name(float *dst, size_t n) {                           \
        const vector v = value(1.0f);                                                                    \
        for (size_t i = 0; i < n; i += 16) {                                                             \
            for (size_t k = 0; k < 16; k += (lanes)) {                                                   \
                put(dst + i + k, v);                                                                     \
            }                                                                                            \
        }                                                                                                \
        _mm_sfence(); /* streamed data have arrived when the call returns */                             \
    }

FILL(store_sse, "sse2", __m128, _mm_set1_ps, _mm_store_ps, 4)
FILL(store_avx, "avx", __m256, _mm256_set1_ps, _mm256_store_ps, 8)
FILL(store_avx512, "avx512f", __m512, _mm512_set1_ps, _mm512_store_ps, 16)
FILL(stream_sse, "sse2", __m128, _mm_set1_ps, _mm_stream_ps, 4)
FILL(stream_avx, "avx", __m256, _mm256_set1_ps, _mm256_stream_ps, 8)
FILL(stream_avx512, "avx512f", __m512, _mm512_set1_ps, _mm512_stream_ps, 16)

static fill *best_fill(bool past_caches) {
    if (tq_isa_available(TQ_ISA_AVX512)) return past_caches ? stream_avx512 : store_avx512;
    if (tq_isa_available(TQ_ISA_AVX2)) return past_caches ? stream_avx : store_avx;
    return past_caches ? stream_sse : store_sse;
}

static const bool can_stream = true;

#else

/* The compiler makes whole registers of the inner loop. */
static void store_plain(float *dst, size_t n) {
    for (size_t i = 0; i < n; i += 16)
        for (size_t k = 0; k < 16; k++)
            dst[i + k] = 1.0f;
}

static fill *best_fill(bool past_caches) {
    (void)past_caches;
    return store_plain;
}

static const bool can_stream = false;

#endif

size_t measure_limits_of(bool decodes, bool in_ram, measure_limit limits[MEASURE_MOST_LIMITS]) {
    limits[0] = decodes ? MEASURE_LIMIT_STORE : MEASURE_LIMIT_MEMCPY;
    limits[1] = MEASURE_LIMIT_STREAM;
    return decodes && in_ram && can_stream ? 2 : 1;
}

const char *measure_limit_name(measure_limit limit) {
    static const char *const names[MEASURE_N_LIMITS] = {"store", "stream", "memcpy"};
    return names[limit];
}

/* Asking the processor traps in a virtual machine, at the cost of storing a megabyte: ask once. */
static fill *fill_for(measure_limit limit) {
    static fill *fills[MEASURE_N_LIMITS];
    if (!fills[limit]) fills[limit] = best_fill(limit == MEASURE_LIMIT_STREAM);
    return fills[limit];
}

typedef struct work {
    fill *fill; /* NULL: copy */
    const float *src;
    float *dst;
    size_t rows, dim, parts;
} work;

static void run_part(void *context, size_t index) {
    const work *w = context;
    const size_t first = w->rows * index / w->parts;
    const size_t n = (w->rows * (index + 1) / w->parts - first) * w->dim;
    float *dst = w->dst + first * w->dim;

    if (w->fill)
        w->fill(dst, n);
    else
        memcpy(dst, w->src + first * w->dim, n * sizeof *dst);
}

void measure_run_limit(measure_limit limit, const tq_parallel *parallel, size_t threads, const float *src,
                       float *dst, size_t rows, size_t dim) {
    fill *const filled_by = limit == MEASURE_LIMIT_MEMCPY ? NULL : fill_for(limit);
    work w = {filled_by, src, dst, rows, dim, parallel ? threads : 1};
    if (parallel)
        parallel->run(parallel->context, w.parts, run_part, &w);
    else
        run_part(&w, 0);
}
