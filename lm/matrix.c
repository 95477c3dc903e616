/* SPDX-License-Identifier: MIT
 * Weights of every type as float32. */
#include "matrix.h"

#include <string.h>

#include "half.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define WITH_AVX2 1
#endif

/* Weights do not change and each result is its caller's own, so nothing here can race; watching every
 * number of them made each token take a hundred times as long under ThreadSanitizer. */
#if defined(__GNUC__)
#define UNWATCHED __attribute__((no_sanitize("thread")))
#else
#define UNWATCHED
#endif

size_t lm_type_size(lm_type type) {
    return type == LM_F32 ? sizeof(float) : sizeof(uint16_t);
}

UNWATCHED static void widen_bf16(const uint16_t *values, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)values[i] << 16;
        memcpy(&out[i], &bits, sizeof bits);
    }
}

UNWATCHED static void widen_f16(const uint16_t *values, size_t n, float *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = lm_from_half(values[i]);
}

#if WITH_AVX2
/* By eights, as no compiler makes vectors of such loops under the sanitizers. */
UNWATCHED __attribute__((target("avx2"))) static void widen_bf16_avx2(const uint16_t *values, size_t n,
                                                                      float *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(values + i)));
        _mm256_storeu_ps(out + i, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
    }
    widen_bf16(values + i, n - i, out + i);
}

UNWATCHED __attribute__((target("avx2,f16c"))) static void widen_f16c(const uint16_t *values, size_t n,
                                                                      float *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(values + i))));
    widen_f16(values + i, n - i, out + i);
}
#endif

void lm_widen(lm_type type, const void *values, size_t first, size_t n, float *out) {
    const uint16_t *narrow = (const uint16_t *)values + first;
    if (type == LM_F32) {
        memcpy(out, (const float *)values + first, n * sizeof *out);
        return;
    }
#if WITH_AVX2
    if (__builtin_cpu_supports("avx2")) { /* the processors that have it have float16 conversion too */
        type == LM_BF16 ? widen_bf16_avx2(narrow, n, out) : widen_f16c(narrow, n, out);
        return;
    }
#endif
    type == LM_BF16 ? widen_bf16(narrow, n, out) : widen_f16(narrow, n, out);
}
