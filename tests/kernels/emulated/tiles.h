/* SPDX-License-Identifier: MIT
 * AMX's tiles on any machine: what kernels/vec/tiles_amx.h is for the kernels, and what the instructions
 * refuse is refused. */
#ifndef TESTS_KERNELS_EMULATED_TILES_H
#define TESTS_KERNELS_EMULATED_TILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct emulated_tile {
    size_t rows; /* 0: there is no such tile */
    uint8_t bytes[16][64];
} emulated_tile;

static emulated_tile emulated[8];

static inline void emulated_refuse(bool wrong, const char *what) {
    if (!wrong) return;
    fprintf(stderr, "emulated tiles: %s\n", what);
    abort();
}

static inline emulated_tile *emulated_at(unsigned i) {
    emulated_refuse(i > 7 || emulated[i].rows == 0, "a tile that is not configured");
    return &emulated[i];
}

static inline void v_tiles_begin(size_t first, size_t others) {
    emulated_refuse(emulated[0].rows != 0, "configured again, and not released");
    emulated_refuse(first < 1 || first > 16 || others < 1 || others > 16, "1 to 16 rows");
    for (unsigned i = 0; i < 8; i++) {
        emulated[i].rows = i >= 6 ? 16 : i % 2 == 0 ? first : others;
        memset(emulated[i].bytes, 0, sizeof emulated[i].bytes);
    }
}
static inline void v_tiles_end(void) {
    emulated_refuse(emulated[0].rows == 0, "released, and not configured");
    for (unsigned i = 0; i < 8; i++)
        emulated[i].rows = 0;
}

static inline void emulated_load(unsigned i, const void *from, size_t stride) {
    emulated_tile *t = emulated_at(i);
    for (size_t r = 0; r < t->rows; r++)
        memcpy(t->bytes[r], (const uint8_t *)from + r * stride, 64);
}
static inline void emulated_store(unsigned i, void *to, size_t stride) {
    const emulated_tile *t = emulated_at(i);
    for (size_t r = 0; r < t->rows; r++)
        memcpy((uint8_t *)to + r * stride, t->bytes[r], 64);
}
static inline void emulated_zero(unsigned i) {
    memset(emulated_at(i)->bytes, 0, sizeof emulated[i].bytes);
}

/* sums[m][n] += the products of fours k of row m of a and of four n of row k of b. */
static inline void emulated_dot(unsigned sums, unsigned a, unsigned b, bool is_signed) {
    emulated_tile *c = emulated_at(sums);
    const emulated_tile *x = emulated_at(a), *y = emulated_at(b);
    emulated_refuse(sums == a || sums == b || a == b, "three tiles are three");
    emulated_refuse(c->rows != x->rows || y->rows != 16, "rows that do not meet");
    for (size_t m = 0; m < c->rows; m++)
        for (size_t n = 0; n < 16; n++) {
            uint32_t sum;
            memcpy(&sum, &c->bytes[m][4 * n], 4);
            for (size_t i = 0; i < 64; i++) {
                const int p = is_signed ? (int8_t)x->bytes[m][i] : x->bytes[m][i];
                sum += (uint32_t)(p * (int8_t)y->bytes[i / 4][4 * n + i % 4]);
            }
            memcpy(&c->bytes[m][4 * n], &sum, 4);
        }
}

#define V_TILE_LOAD(tile, from, stride) emulated_load(tile, from, stride)
#define V_TILE_STORE(tile, to, stride)  emulated_store(tile, to, stride)
#define V_TILE_ZERO(tile)               emulated_zero(tile)
#define V_TILE_DOT_SIGNED(sums, a, b)   emulated_dot(sums, a, b, true)
#define V_TILE_DOT_UNSIGNED(sums, a, b) emulated_dot(sums, a, b, false)

#endif
