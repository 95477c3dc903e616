/* SPDX-License-Identifier: MIT
 * What no attention on this machine can beat: reading a cache once, and its multiplications. */
#include "limits.h"

#include <stdint.h>
#include <string.h>

#include "tqkv/cpu.h"

enum { LINE = 64, STEP = 2 * LINE, STREAMS = 8, FMA_ROUNDS = 1 << 16 };

/* Bytes are merged, so that none can be left unread, by the cheapest operation there is. */
typedef uint64_t reader(const unsigned char *src, size_t bytes);

typedef struct multiplier {
    float (*run)(size_t rounds);
    double flops; /* of a round */
} multiplier;

#if defined(__x86_64__)
#include <immintrin.h>

/* Eight places are read from in turn: beyond 32 MiB or so that is a tenth faster than one after the
 * other, and below that the same. */
#define READER(name, features, vector, load, merge, zero)                                                \
    __attribute__((target(features))) static uint64_t name(const unsigned char *src, size_t bytes) {     \
        const size_t part = bytes / STREAMS / STEP * STEP;                                               \
        vector seen[STREAMS];                                                                            \
        for (size_t k = 0; k < STREAMS; k++)                                                             \
            seen[k] = zero();                                                                            \
        for (size_t i = 0; i < part; i += STEP) {                                                        \
            for (size_t k = 0; k < STREAMS; k++)                                                         \
                for (size_t j = 0; j < STEP; j += sizeof(vector))                                        \
                    seen[k] = merge(seen[k], load((const void *)(src + k * part + i + j)));              \
        }                                                                                                \
        for (size_t i = STREAMS * part; i < bytes; i += sizeof(vector))                                  \
            seen[0] = merge(seen[0], load((const void *)(src + i)));                                     \
        uint64_t words[STREAMS * sizeof(vector) / sizeof(uint64_t)], all = 0;                            \
        memcpy(words, seen, sizeof words);                                                               \
        for (size_t k = 0; k < sizeof words / sizeof words[0]; k++)                                      \
            all |= words[k];                                                                             \
        return all;                                                                                      \
    }

READER(read_sse, "sse2", __m128i, _mm_load_si128, _mm_or_si128, _mm_setzero_si128)
READER(read_avx2, "avx2", __m256i, _mm256_load_si256, _mm256_or_si256, _mm256_setzero_si256)
READER(read_avx512, "avx512f", __m512i, _mm512_load_si512, _mm512_or_si512, _mm512_setzero_si512)

/* Two units that take four cycles want eight sums under way; twelve leave room, and fit in 16 registers
 * with the factors. The sums stay near 1. */
enum { SUMS = 12 };

#define MULTIPLIER(name, features, vector, value, fma, store, lanes)                                     \
    __attribute__((target(features))) static float name(size_t rounds) {                                 \
        vector sum[SUMS];                                                                                \
        float out[lanes];                                                                                \
        const vector factor = value(0.5f), term = value(0.5f);                                           \
        for (size_t k = 0; k < SUMS; k++)                                                                \
            sum[k] = value(1.0f + (float)k);                                                             \
        for (size_t i = 0; i < rounds; i++)                                                              \
            for (size_t k = 0; k < SUMS; k++)                                                            \
                sum[k] = fma(sum[k], factor, term);                                                      \
        for (size_t k = 1; k < SUMS; k++)                                                                \
            sum[0] = fma(sum[0], factor, sum[k]);                                                        \
        store(out, sum[0]);                                                                              \
        return out[0];                                                                                   \
    }

#define MULTIPLY_ADD_SSE(a, b, c) _mm_add_ps(_mm_mul_ps(a, b), c)

MULTIPLIER(multiply_sse, "sse2", __m128, _mm_set1_ps, MULTIPLY_ADD_SSE, _mm_storeu_ps, 4)
MULTIPLIER(multiply_fma, "avx,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_storeu_ps, 8)
MULTIPLIER(multiply_avx512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_storeu_ps, 16)

static reader *best_reader(void) {
    return tq_isa_available(TQ_ISA_AVX512) ? read_avx512
           : tq_isa_available(TQ_ISA_AVX2) ? read_avx2
                                           : read_sse;
}

static multiplier best_multiplier(void) {
    return tq_isa_available(TQ_ISA_AVX512) ? (multiplier){multiply_avx512, 2.0 * 16 * SUMS}
           : tq_isa_available(TQ_ISA_AVX2) ? (multiplier){multiply_fma, 2.0 * 8 * SUMS}
                                           : (multiplier){multiply_sse, 2.0 * 4 * SUMS};
}

#else

/* The compiler makes whole registers of the inner loop. */
static uint64_t read_plain(const unsigned char *src, size_t bytes) {
    uint64_t seen[STREAMS] = {0}, words[STREAMS], all = 0;
    for (size_t i = 0; i < bytes; i += sizeof words) {
        memcpy(words, src + i, sizeof words);
        for (size_t k = 0; k < STREAMS; k++)
            seen[k] |= words[k];
    }
    for (size_t k = 0; k < STREAMS; k++)
        all |= seen[k];
    return all;
}

static reader *best_reader(void) {
    return read_plain;
}

#if defined(__aarch64__)
#include <arm_neon.h>

/* Four units of four cycles, at the most. */
enum { SUMS = 16, LANES = 4 };

static float multiply(size_t rounds) {
    float32x4_t sum[SUMS];
    const float32x4_t factor = vdupq_n_f32(0x1p-12f); /* sums hardly move */
    for (size_t k = 0; k < SUMS; k++)
        sum[k] = vdupq_n_f32(1.0f + (float)k);
    for (size_t i = 0; i < rounds; i++)
        for (size_t k = 0; k < SUMS; k++)
            sum[k] = vfmaq_f32(sum[k], factor, factor);
    for (size_t k = 1; k < SUMS; k++)
        sum[0] = vaddq_f32(sum[0], sum[k]);
    return vgetq_lane_f32(sum[0], 0);
}
#else
enum { SUMS = 16, LANES = 4 };

static float multiply(size_t rounds) {
    float sum[SUMS * LANES];
    for (size_t k = 0; k < SUMS * LANES; k++)
        sum[k] = 1.0f + (float)k;
    for (size_t i = 0; i < rounds; i++)
        for (size_t k = 0; k < SUMS * LANES; k++)
            sum[k] = sum[k] * 0.5f + 0.5f;
    for (size_t k = 1; k < SUMS * LANES; k++)
        sum[0] += sum[k];
    return sum[0];
}
#endif

static multiplier best_multiplier(void) {
    return (multiplier){multiply, 2.0 * LANES * SUMS};
}

#endif

typedef struct work {
    reader *read;
    const unsigned char *src;
    size_t lines;
    multiplier multiply;
    size_t parts;
} work;

static void read_part(void *context, size_t index) {
    const work *w = context;
    const size_t first = w->lines * index / w->parts, last = w->lines * (index + 1) / w->parts;
    volatile uint64_t seen = w->read(w->src + first * LINE, (last - first) * LINE);
    (void)seen;
}

static void multiply_part(void *context, size_t index) {
    const work *w = context;
    (void)index;
    volatile float product = w->multiply.run(FMA_ROUNDS);
    (void)product;
}

static void run_parts(const tq_parallel *parallel, work *w, void (*part)(void *, size_t)) {
    if (parallel)
        parallel->run(parallel->context, w->parts, part, w);
    else
        part(w, 0);
}

/* Asking the processor traps in a virtual machine: ask once. */
void measure_run_read(const tq_parallel *parallel, size_t threads, const void *src, size_t bytes) {
    static reader *read;
    if (!read) read = best_reader();
    work w = {.read = read, .src = src, .lines = bytes / LINE, .parts = parallel ? threads : 1};
    run_parts(parallel, &w, read_part);
}

double measure_run_fma(const tq_parallel *parallel, size_t threads) {
    static multiplier multiply;
    if (!multiply.run) multiply = best_multiplier();
    work w = {.multiply = multiply, .parts = parallel ? threads : 1};
    run_parts(parallel, &w, multiply_part);
    return multiply.flops * FMA_ROUNDS * (double)w.parts;
}
