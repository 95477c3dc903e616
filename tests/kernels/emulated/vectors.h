/* SPDX-License-Identifier: MIT
 * Vectors of 64 bytes on any machine, for the kernels of products of digits: what the headers of a level
 * in kernels/vec are for them. Slow, and compiled as it is written: nothing is unrolled. */
#ifndef TESTS_KERNELS_EMULATED_VECTORS_H
#define TESTS_KERNELS_EMULATED_VECTORS_H

#include <stdbool.h>
#include <string.h>

#include "kernels/vec/common.h"

#undef V_INLINE
#undef V_UNROLL
#define V_INLINE static inline
#define V_UNROLL

typedef union vb {
    uint8_t b[64];
    uint32_t w[16];
} vb;
typedef vb vi;
typedef struct vf {
    float f[16];
} vf;

#define V_BYTES      64
#define V_SUMS       16
#define V_DIGIT_ROWS 8

V_INLINE vf v_mul(vf x, vf y) {
    V_FOR (i, 16)
        x.f[i] *= y.f[i];
    return x;
}
V_INLINE vf v_set(float value) {
    vf x;
    V_FOR (i, 16)
        x.f[i] = value;
    return x;
}
V_INLINE void v_store(float *p, vf x) {
    memcpy(p, &x, sizeof x);
}
V_INLINE vf v_load_ints(const int32_t *p) {
    vf x;
    V_FOR (i, 16)
        x.f[i] = (float)p[i];
    return x;
}

V_INLINE vb v_bytes_some(const uint8_t *p, size_t n) {
    vb x = {{0}};
    memcpy(&x, p, n < 64 ? n : 64);
    return x;
}
V_INLINE vb v_bytes_at(const void *p) {
    return v_bytes_some(p, 64);
}
V_INLINE vb v_bytes_half(const uint8_t *p) {
    return v_bytes_some(p, 32);
}
V_INLINE vb v_bytes_quarter(const uint8_t *p) {
    return v_bytes_some(p, 16);
}
V_INLINE void v_bytes_store_all(uint8_t *p, vb x) {
    memcpy(p, &x, sizeof x);
}
V_INLINE vb v_bytes_or(vb x, vb y) {
    V_FOR (i, 16)
        x.w[i] |= y.w[i];
    return x;
}
V_INLINE vb v_bytes_and(vb x, unsigned mask) {
    V_FOR (i, 64)
        x.b[i] &= (uint8_t)mask;
    return x;
}
V_INLINE vb v_nibbles_high(vb x) {
    V_FOR (i, 64)
        x.b[i] >>= 4;
    return x;
}

/* Field 2 i + odd of so many bits, of fields that lie side by side. */
V_INLINE unsigned field_of(vb x, unsigned bits, unsigned i, unsigned odd) {
    const unsigned bit = (2 * i + odd) * bits;
    return (unsigned)x.b[bit / 8] >> bit % 8 & ((1u << bits) - 1);
}
V_INLINE vb v_crumbs(vb x, const unsigned odd, const unsigned at) {
    vb to;
    V_FOR (i, 64)
        to.b[i] = (uint8_t)(field_of(x, 2, i, odd) << at);
    return to;
}
V_INLINE vb v_flags(vb x, const unsigned odd, unsigned value) {
    vb to;
    V_FOR (i, 64)
        to.b[i] = (uint8_t)(field_of(x, 1, i, odd) * value);
    return to;
}

typedef struct v_digit_table {
    uint8_t digits[256];
} v_digit_table;

/* Of 8 bits: the magnitude is looked up, and 0 minus it is the negative one, bias and all. */
V_INLINE v_digit_table v_digit_table_load(const signed char *t, const unsigned bits, int bias) {
    v_digit_table table = {{0}};
    V_FOR (i, 1u << bits)
        table.digits[i] = (uint8_t)(i < 128 ? t[i] + bias : -(t[i - 128] + bias));
    return table;
}
V_INLINE vb v_digits(const v_digit_table *t, const unsigned bits, vb code) {
    (void)bits;
    V_FOR (i, 64)
        code.b[i] = t->digits[code.b[i]];
    return code;
}

V_INLINE vi v_sums_of(int32_t value) {
    vi x;
    V_FOR (i, 16)
        x.w[i] = (uint32_t)value;
    return x;
}
V_INLINE vi v_dot_bytes(vi acc, vb x, vb y) {
    V_FOR (i, 64)
        acc.w[i / 4] += (uint32_t)(x.b[i] * (int8_t)y.b[i]);
    return acc;
}
/* Words are pairs of bytes within 16 of them, as unpacking gives them. */
V_INLINE vb words_of(vb low, vb high, unsigned first) {
    vb to;
    V_FOR (i, 64) {
        const unsigned from = i / 16 * 16 + first + i % 16 / 2;
        to.b[i] = i % 2 == 0 ? low.b[from] : high.b[from];
    }
    return to;
}
V_INLINE vb v_words_first(vb low, vb high) {
    return words_of(low, high, 0);
}
V_INLINE vb v_words_last(vb low, vb high) {
    return words_of(low, high, 8);
}
V_INLINE vi v_dot_words(vi acc, vb x, vb y) {
    V_FOR (i, 32) {
        const int a = (int8_t)x.b[2 * i + 1] * 256 + x.b[2 * i],
                  b = (int8_t)y.b[2 * i + 1] * 256 + y.b[2 * i];
        acc.w[i / 2] += (uint32_t)(a * b);
    }
    return acc;
}
V_INLINE vi v_sums_join(vi high, vi low) {
    V_FOR (i, 16)
        low.w[i] += high.w[i] << 7;
    return low;
}
V_INLINE void v_sums_add(vi sums, int32_t *to) {
    const vi before = v_bytes_at(to);
    V_FOR (i, 16)
        sums.w[i] += before.w[i];
    memcpy(to, &sums, sizeof sums);
}
V_INLINE void v_sums_scaled(const vi x[V_SUMS], const unsigned n, const int32_t *bias,
                            const float *factors, float *out) {
    V_FOR (i, n) {
        uint32_t sum = 0;
        V_FOR (j, 16)
            sum += x[i].w[j];
        out[i] = (float)(int32_t)(sum - (uint32_t)bias[i]) * factors[i];
    }
}

/* Byte i: of vector i % 4, the one that stands 4 j + i / 4 % 4 within its sixteen. */
V_INLINE vb v_interleaved(const vb x[4], const unsigned j) {
    vb to;
    V_FOR (i, 64)
        to.b[i] = x[i % 4].b[i / 16 * 16 + 4 * j + i % 16 / 4];
    return to;
}
V_INLINE void v_fours_transpose(vb x[16]) {
    vb from[16];
    memcpy(from, x, sizeof from);
    V_FOR (i, 16)
        V_FOR (j, 16)
            x[i].w[j] = from[j].w[i];
}

#endif
