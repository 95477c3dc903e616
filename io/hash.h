/* SPDX-License-Identifier: MIT
 * XXH3-64, the checksum of encoded files. */
#ifndef IO_HASH_H
#define IO_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t tqio_hash_bytes(const void *bytes, size_t n);

/* The hash of the floats as they stand in a file, little-endian. */
uint64_t tqio_hash_floats(const float *floats, size_t n);

#endif
