/* SPDX-License-Identifier: MIT
 * Every codebook, and bytes for its codes. */
#ifndef TESTS_KERNELS_BOOKS_H
#define TESTS_KERNELS_BOOKS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "support/rng.h"

size_t n_books(void);
const tq_codebook_tables *nth_book(size_t i, const char **format);

/* Bytes of n packed codes. */
size_t row_bytes(const tq_codebook_tables *book, size_t n);

typedef enum bytes_pattern {
    BYTES_RANDOM,
    BYTES_COUNTING,
    BYTES_ZERO,
    BYTES_FULL,
    BYTES_ONE_BIT,
    BYTES_PATTERNS
} bytes_pattern;

const char *bytes_pattern_name(bytes_pattern p);

/* mask: the bits that may be set. */
void fill_bytes(bytes_pattern p, rng *r, uint8_t *x, size_t n, uint8_t mask);

#endif
