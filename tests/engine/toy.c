/* SPDX-License-Identifier: MIT
 * Products with sparse matrices of plus and minus one, drawn by a hash. */
#include "toy.h"

#include <math.h>
#include <string.h>

#include "attention/half.h"

static uint32_t hash(uint32_t a, uint32_t b) {
    uint32_t x = a * 0x9e3779b1U ^ (b + 0x7f4a7c15U) * 0x85ebca6bU;
    x = (x ^ x >> 15) * 0x2c1b3c6dU;
    x = (x ^ x >> 12) * 0x297a2d39U;
    return x ^ x >> 15;
}

static float centred(uint32_t h) {
    return (float)(h >> 8) * 0x1p-23f - 1.0f;
}

/* To a mean square of 1. */
static void normalise(float *x) {
    float sum = 0;
    for (size_t i = 0; i < TOY_WIDTH; i++)
        sum += x[i] * x[i];
    const float scale = 1.0f / sqrtf(sum / TOY_WIDTH + 1e-6f);
    for (size_t i = 0; i < TOY_WIDTH; i++)
        x[i] *= scale;
}

void toy_embed(uint32_t token, uint64_t position, float *x) {
    for (uint32_t i = 0; i < TOY_WIDTH; i++)
        x[i] = centred(hash(token, i)) + 0.5f * centred(hash((uint32_t)position + 77777, i));
    normalise(x);
}

size_t toy_size(tq_type type) {
    return type == TQ_F32 ? sizeof(float) : sizeof(uint16_t);
}

float toy_value(tq_type type, const void *array, size_t i) {
    if (type == TQ_F32) return ((const float *)array)[i];
    const uint16_t half = ((const uint16_t *)array)[i];
    return (float)(type == TQ_F16 ? half_to(half) : bf16_to(half));
}

static void put(tq_type type, void *array, size_t i, float x) {
    if (type == TQ_F32)
        ((float *)array)[i] = x;
    else
        ((uint16_t *)array)[i] = type == TQ_F16 ? half_from((double)x) : bf16_from(x);
}

float toy_rounded(tq_type type, float x) {
    float array[1];
    put(type, array, 0, x);
    return toy_value(type, array, 0);
}

/* Eight of n values, each with a sign, as row `row` of a matrix has them. */
static float row_of(uint32_t matrix, uint32_t row, tq_type type, const void *x, size_t n) {
    float sum = 0;
    for (uint32_t t = 0; t < 8; t++) {
        const uint32_t h = hash(matrix * 8 + t, row);
        const float value = toy_value(type, x, (h >> 1) % n);
        sum += (h & 1) != 0 ? value : -value;
    }
    return sum * 0.35355339f;
}

void toy_project(size_t layer, const float *x, size_t n, tq_type type, void *y) {
    for (uint32_t i = 0; i < n; i++)
        put(type, y, i, row_of(2 * (uint32_t)layer, i, TQ_F32, x, TOY_WIDTH));
}

void toy_add(size_t layer, const void *attended, size_t n, tq_type type, float *x) {
    for (uint32_t i = 0; i < TOY_WIDTH; i++)
        x[i] += 2.0f * row_of(2 * (uint32_t)layer + 1, i, type, attended, n);
    normalise(x);
}

uint32_t toy_next(const float *x) {
    uint32_t token = 0, bits;
    for (size_t i = 0; i < TOY_WIDTH; i++) {
        memcpy(&bits, &x[i], sizeof bits);
        token = hash(token, bits);
    }
    return token % 50000;
}
