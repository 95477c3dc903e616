/* SPDX-License-Identifier: MIT
 * Little-endian bytes, checked sizes and memory. */
#include "bytes.h"

#include <stdlib.h>

_Static_assert(sizeof(float) == 4, "float must be IEEE binary32");

float tqio_half(uint32_t half) {
    uint32_t sign = (half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 0x1f;
    uint32_t fraction = half & 0x3ff;
    if (exponent == 0x1f) return tqio_float(sign | 0x7f800000 | fraction << 13);
    if (exponent != 0) return tqio_float(sign | (exponent + 127 - 15) << 23 | fraction << 13);
    if (fraction == 0) return tqio_float(sign);
    /* A subnormal: shift until the leading one stands where binary32 leaves it out. */
    for (exponent = 127 - 14; (fraction & 0x400) == 0; exponent--)
        fraction <<= 1;
    return tqio_float(sign | exponent << 23 | (fraction & 0x3ff) << 13);
}

void tqio_copy_numbers(void *out, const void *in, size_t n_bytes, size_t item) {
    const uint16_t one = 1;
    const bool little = *(const uint8_t *)&one == 1;
    const uint8_t *from = in;
    uint8_t *to = out;
    for (size_t i = 0; i < n_bytes; i++)
        to[i] = from[little ? i : i ^ (item - 1)];
}

bool tqio_shape_values(const size_t *shape, size_t n_dims, size_t item_size, size_t *n_values) {
    size_t limit = (size_t)PTRDIFF_MAX / item_size;
    size_t product = 1;
    bool empty = false;
    for (size_t i = 0; i < n_dims; i++) {
        if (shape[i] == 0) {
            empty = true;
            continue;
        }
        if (product > limit / shape[i]) return false;
        product *= shape[i];
    }
    *n_values = empty ? 0 : product;
    return true;
}

void *tqio_alloc(size_t bytes) {
    const size_t line = 64;
    if (bytes > (size_t)PTRDIFF_MAX - line) return NULL;
    return aligned_alloc(line, bytes == 0 ? line : (bytes + line - 1) / line * line);
}
