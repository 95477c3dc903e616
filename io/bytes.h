/* SPDX-License-Identifier: MIT
 * Little-endian bytes, checked sizes and memory. */
#ifndef IO_BYTES_H
#define IO_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t tqio_le16(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static inline uint32_t tqio_le32(const uint8_t *p) {
    return tqio_le16(p) | tqio_le16(p + 2) << 16;
}

static inline uint64_t tqio_le64(const uint8_t *p) {
    return (uint64_t)tqio_le32(p) | (uint64_t)tqio_le32(p + 4) << 32;
}

static inline float tqio_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The value of a float16: exact, the payload of a NaN moves up. */
float tqio_half(uint32_t half);

/* Copies numbers of `item` bytes, a power of two, out of a file, where they are little-endian, or into
 * one, whatever this machine's byte order. */
void tqio_copy_numbers(void *out, const void *in, size_t n_bytes, size_t item);

/* The product of a shape. False if it, times item_size, passes what an address can hold; dimensions of
 * zero are left out of that test, so that no stride computed from the shape can overflow either. */
bool tqio_shape_values(const size_t *shape, size_t n_dims, size_t item_size, size_t *n_values);

/* Memory aligned to 64 bytes, not NULL for zero bytes; NULL if there is none. free() releases it. */
void *tqio_alloc(size_t bytes);

#endif
