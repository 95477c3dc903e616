/* SPDX-License-Identifier: MIT
 * Matrix products for processors with AVX2 and without AVX-512.
 *
 * OpenBLAS 0.3.21 puts both sides of a product in order anew in every call, and with more than eight rows
 * takes a slower kernel on Haswell and Zen: 19 to 22 GF/s of the 39 that a core of Zen 1 has. Here a
 * tile of weights is put in order once for all rows, and a product has the rows that there are, not eight
 * for one.
 *
 * The order of a sum is OpenBLAS's own on these processors, for eight rows and for inputs and outputs by
 * eights: figures measured with it stay as they are, to the byte. */
#include "panel.h"

enum {
    CALL = 1024, /* inputs that are cut into parts by themselves */
    PART = 320   /* most inputs of a part */
};

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

size_t lm_panels_part_end(size_t at, size_t in) {
    const size_t left = least(in, at / CALL * CALL + CALL) - at;
    if (left >= 2 * (size_t)PART) return at + PART;
    return at + (left > PART ? (left / 2 + 7) / 8 * 8 : left);
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

enum {
    VECTOR = 8,
    PANEL = 16, /* outputs whose weights lie side by side: two vectors */
    ROWS = 6,   /* 12 sums beside two vectors of weights and one input: all registers that there are */
    HALF = PART / 2 * PANEL /* values of a panel at even inputs, and at odd ones */
};

/* Nobody watches OpenBLAS's loads and stores either: with sanitizers these took five to nine times as
 * long. A test has unreadable pages behind its arrays. */
#define AVX2        __attribute__((target("avx2,fma"), no_sanitize("address", "thread", "undefined")))
#define AVX2_INLINE AVX2 __attribute__((always_inline)) static inline
/* Unrolled, as sums stay in registers only where each has a name of its own. */
#ifdef __clang__
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif
#define EACH(i, n) UNROLLED for (int i = 0; i < (n); i++)

bool lm_panels_serve(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           !__builtin_cpu_supports("avx512f");
}

AVX2_INLINE void transpose(__m256 x[VECTOR]) {
    __m256 t[VECTOR];
    for (int i = 0; i < VECTOR; i += 2) {
        t[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    }
    for (int i = 0; i < VECTOR; i += 4) {
        x[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        x[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        x[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        x[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < VECTOR / 2; i++) {
        t[i] = _mm256_permute2f128_ps(x[i], x[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(x[i], x[i + 4], 0x31);
    }
    for (int i = 0; i < VECTOR; i++)
        x[i] = t[i];
}

/* Inputs [at, end) of a panel's outputs: wide [PANEL][PART] to even and odd inputs [PART / 2][PANEL]. */
AVX2 static void put_in_order(const float *wide, size_t n, float *panel) {
    for (size_t o = 0; o < PANEL; o += VECTOR)
        for (size_t k = 0; k < n; k += VECTOR) {
            __m256 x[VECTOR];
            for (size_t i = 0; i < VECTOR; i++)
                x[i] = _mm256_loadu_ps(wide + (o + i) * PART + k);
            transpose(x);
            for (size_t i = 0; i < VECTOR; i++)
                _mm256_store_ps(panel + i % 2 * HALF + (k + i) / 2 * PANEL + o, x[i]);
        }
}

/* What is beyond `n` outputs or inputs is 0, and nobody takes it. */
static void load_panel(const lm_matrix *w, size_t first, size_t n, size_t at, size_t depth,
                       float *panel) {
    float wide[PANEL * PART];
    const size_t rounded = (depth + VECTOR - 1) / VECTOR * VECTOR;
    for (size_t o = 0; o < PANEL; o++) {
        const size_t there = o < n ? depth : 0;
        if (there > 0) lm_widen(w->type, w->values, (first + o) * w->in + at, there, wide + o * PART);
        for (size_t k = there; k < rounded; k++)
            wide[o * PART + k] = 0.0f;
    }
    put_in_order(wide, rounded, panel);
}

/* Every other of the inputs from x on, `n` of them, of `q` rows: sums [q][2]. */
AVX2_INLINE void sum_half(const int q, const float *x, size_t in, size_t n, const float *panel,
                          __m256 *sums) {
    __m256 s[2 * ROWS];
    EACH(i, 2 * q)
    s[i] = _mm256_setzero_ps();
    for (size_t k = 0; k < n; k++, x += 2, panel += PANEL) {
        const __m256 low = _mm256_load_ps(panel), high = _mm256_load_ps(panel + VECTOR);
        EACH(r, q) {
            const __m256 a = _mm256_broadcast_ss(x + (size_t)r * in);
            s[2 * r] = _mm256_fmadd_ps(a, low, s[2 * r]);
            s[2 * r + 1] = _mm256_fmadd_ps(a, high, s[2 * r + 1]);
        }
    }
    EACH(i, 2 * q)
    sums[i] = s[i];
}

/* y gets the sums of a row, with what is there already unless this is the first part. */
AVX2_INLINE void put_row(bool begins, const __m256 *even, const __m256 *odd, size_t n, float *y) {
    _Alignas(32) float sums[PANEL];
    __m256 low = _mm256_add_ps(even[0], odd[0]), high = _mm256_add_ps(even[1], odd[1]);
    if (n == PANEL) {
        if (!begins) low = _mm256_add_ps(_mm256_loadu_ps(y), low);
        if (!begins) high = _mm256_add_ps(_mm256_loadu_ps(y + VECTOR), high);
        _mm256_storeu_ps(y, low);
        _mm256_storeu_ps(y + VECTOR, high);
        return;
    }
    _mm256_store_ps(sums, low);
    _mm256_store_ps(sums + VECTOR, high);
    for (size_t i = 0; i < n; i++)
        y[i] = begins ? sums[i] : y[i] + sums[i];
}

/* y [q][out]: the panel's n outputs. */
AVX2_INLINE void add_block(const int q, bool begins, const float *x, size_t in, size_t depth,
                           const float *panel, size_t n, float *y, size_t out) {
    __m256 even[2 * ROWS], odd[2 * ROWS];
    sum_half(q, x, in, (depth + 1) / 2, panel, even);
    sum_half(q, x + 1, in, depth / 2, panel + HALF, odd);
    EACH(r, q)
    put_row(begins, even + 2 * r, odd + 2 * r, n, y + (size_t)r * out);
}

AVX2 static void add_panel(size_t rows, bool begins, const float *x, size_t in, size_t depth,
                           const float *panel, size_t n, float *y, size_t out) {
    size_t r = 0;
    for (; rows - r >= ROWS; r += ROWS)
        add_block(ROWS, begins, x + r * in, in, depth, panel, n, y + r * out, out);
    for (; rows - r >= 3; r += 3)
        add_block(3, begins, x + r * in, in, depth, panel, n, y + r * out, out);
    for (; rows - r >= 2; r += 2)
        add_block(2, begins, x + r * in, in, depth, panel, n, y + r * out, out);
    for (; r < rows; r++)
        add_block(1, begins, x + r * in, in, depth, panel, n, y + r * out, out);
}

void lm_panels_multiply(const lm_matrix *w, size_t first, size_t n, size_t rows, const float *x,
                        float *y) {
    _Alignas(64) float panel[2 * HALF];
    for (size_t at = 0, end; at < w->in; at = end) {
        end = lm_panels_part_end(at, w->in);
        for (size_t o = 0; o < n; o += PANEL) {
            const size_t here = least(n - o, PANEL);
            load_panel(w, first + o, here, at, end - at, panel);
            add_panel(rows, at == 0, x + at, w->in, end - at, panel, here, y + first + o, w->out);
        }
    }
}

#else

bool lm_panels_serve(void) {
    return false;
}

void lm_panels_multiply(const lm_matrix *w, size_t first, size_t n, size_t rows, const float *x,
                        float *y) {
    (void)w, (void)first, (void)n, (void)rows, (void)x, (void)y;
}

#endif
