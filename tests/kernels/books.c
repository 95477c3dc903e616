/* SPDX-License-Identifier: MIT
 * Every codebook, and bytes for its codes. */
#include "books.h"

#include "format/plan.h"

size_t n_books(void) {
    size_t n;
    tq_formats(&n);
    return n;
}

const tq_codebook_tables *nth_book(size_t i, const char **format) {
    const tq_format f = tq_formats(NULL)[i];
    *format = tq_format_name(f);
    return tq_find_codebook(f);
}

size_t row_bytes(const tq_codebook_tables *book, size_t n) {
    return book->packing == TQ_PACK_BYTES ? n : n * book->bits / 8;
}

const char *bytes_pattern_name(bytes_pattern p) {
    static const char *const names[BYTES_PATTERNS] = {
        [BYTES_RANDOM] = "random", [BYTES_COUNTING] = "counting",   [BYTES_ZERO] = "all zero",
        [BYTES_FULL] = "all ones", [BYTES_ONE_BIT] = "one bit set",
    };
    return names[p];
}

static uint8_t byte_of(bytes_pattern p, rng *r, size_t i) {
    switch (p) {
    case BYTES_RANDOM:
        return (uint8_t)(rng_next(r) >> 56);
    case BYTES_COUNTING:
        return (uint8_t)i;
    case BYTES_FULL:
        return 0xff;
    default:
        return 0;
    }
}

void fill_bytes(bytes_pattern p, rng *r, uint8_t *x, size_t n, uint8_t mask) {
    const uint32_t bit = rng_below(r, (uint32_t)n * 8);
    for (size_t i = 0; i < n; i++)
        x[i] = byte_of(p, r, i) & mask;
    if (p == BYTES_ONE_BIT) x[bit / 8] = (uint8_t)(1u << bit % 8) & mask;
}
