/* SPDX-License-Identifier: MIT
 * What a byte of codes is as float16. */
#include "attend/tables.h"

#include <math.h>
#include <string.h>

enum { HALF_DIGITS = 11, HALF_LEAST = -24 };

/* x rounded to the nearest float16, ties to even; |x| below 2^15. */
static double half_of(double x) {
    int exponent;
    (void)frexp(x, &exponent);
    const int step = exponent - HALF_DIGITS > HALF_LEAST ? exponent - HALF_DIGITS : HALF_LEAST;
    return ldexp(rint(ldexp(x, -step)), step);
}

/* The bits of a number that float16 holds. */
static uint32_t bits_of(double x) {
    int exponent;
    const double m = fabs(x);
    const uint32_t sign = signbit(x) ? 0x8000u : 0;
    if (m < ldexp(1.0, -14)) return sign | (uint32_t)ldexp(m, -HALF_LEAST);
    (void)frexp(m, &exponent);
    return sign | (uint32_t)(exponent + 14) << 10 | ((uint32_t)ldexp(m, HALF_DIGITS - exponent) & 0x3ffu);
}

static double error_of(const tq_codebook_tables *book, double factor) {
    double sum = 0.0;
    for (unsigned i = 0; i < 1u << book->bits; i++) {
        const double x = (double)book->levels[i] * factor, e = (half_of(x) - x) / factor;
        sum += e * e;
    }
    return sum;
}

/* Few levels can all come to lie next to a float16. */
static double best_factor(const tq_codebook_tables *book) {
    const unsigned tries = book->bits <= 4 ? 1u << 16 : 1u << 12;
    double best = 1.0, least = INFINITY;
    for (unsigned i = 0; i < tries; i++) {
        const double factor = (double)(float)(1.0 + (double)i / tries), error = error_of(book, factor);
        if (error < least) least = error, best = factor;
    }
    return best;
}

float tq_attend_fill_table(const tq_codebook_tables *book,
                           uint32_t table[TQ_ATTEND_ENTRIES][TQ_ATTEND_WORDS]) {
    const double factor = best_factor(book);
    const unsigned mask = (1u << book->bits) - 1;
    memset(table, 0, sizeof(uint32_t) * TQ_ATTEND_ENTRIES * TQ_ATTEND_WORDS);
    for (unsigned i = 0; i < TQ_ATTEND_ENTRIES; i++) {
        unsigned codes[4] = {i & mask, i & mask, 0, 0}, n = 1;
        if (book->bits == 4) n = 2, codes[1] = i >> 4;
        if (book->bits == 3)
            n = 2, codes[0] = (i & 3) | (i >> 4 & 1) << 2, codes[1] = (i >> 2 & 3) | (i >> 5 & 1) << 2;
        if (book->bits == 2) {
            n = 4;
            for (unsigned j = 0; j < 4; j++)
                codes[j] = i >> 2 * j & 3;
        }
        uint32_t high[4], low[4];
        for (unsigned j = 0; j < 4; j++) {
            const double x = (double)book->levels[codes[j]] * factor, h = half_of(x);
            high[j] = bits_of(h), low[j] = bits_of(half_of(x - h));
        }
        uint32_t *const e = table[i];
        if (n == 1) {
            e[0] = high[0];
            e[2] = high[0] | low[0] << 16;
        } else {
            e[0] = e[2] = high[0] | high[1] << 16;
            e[3] = low[0] | low[1] << 16;
            if (n == 4) e[1] = e[3] = high[2] | high[3] << 16;
        }
    }
    return (float)factor;
}
