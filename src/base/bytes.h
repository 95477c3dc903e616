/* SPDX-License-Identifier: MIT
 * Little-endian bytes at any address, whatever this machine's order. Compilers make a copy of each loop
 * where the orders agree. */
#ifndef TQ_BASE_BYTES_H
#define TQ_BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/arch.h"

_Static_assert(sizeof(float) == 4, "float must be IEEE binary32");

static inline uint32_t tq_get_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t tq_get_u64(const uint8_t *p) {
    return (uint64_t)tq_get_u32(p) | (uint64_t)tq_get_u32(p + 4) << 32;
}

static inline uint16_t tq_get_u16(const uint8_t *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline float tq_get_f32(const uint8_t *p) {
    const uint32_t bits = tq_get_u32(p);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void tq_put_u16(uint8_t *p, uint16_t value) {
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static inline void tq_put_u32(uint8_t *p, uint32_t value) {
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

static inline void tq_put_u64(uint8_t *p, uint64_t value) {
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

static inline void tq_put_f32(uint8_t *p, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    tq_put_u32(p, bits);
}

static inline void tq_get_halves(uint16_t *out, const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        out[i] = tq_get_u16(p + 2 * i);
}

static inline void tq_put_halves(uint8_t *p, const uint16_t *halves, size_t n) {
    for (size_t i = 0; i < n; i++)
        tq_put_u16(p + 2 * i, halves[i]);
}

static inline void tq_get_floats(float *out, const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        out[i] = tq_get_f32(p + 4 * i);
}

static inline void tq_put_floats(uint8_t *p, const float *floats, size_t n) {
    for (size_t i = 0; i < n; i++)
        tq_put_f32(p + 4 * i, floats[i]);
}

#endif
