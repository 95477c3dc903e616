/* SPDX-License-Identifier: MIT
 * XXH3-64, the checksum of encoded files. */
#ifndef IO_HASH_H
#define IO_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t tqio_hash_bytes(const void *bytes, size_t n);

/* The hash of numbers of `item` bytes as they stand in a file, little-endian. */
uint64_t tqio_hash_numbers(const void *numbers, size_t n_bytes, size_t item);

#endif
