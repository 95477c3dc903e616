/* SPDX-License-Identifier: MIT
 * What a format is made of, as every device reads it: a codebook, a packing, a rotation. */
#ifndef TQ_FORMAT_TABLES_H
#define TQ_FORMAT_TABLES_H

#include <stddef.h>
#include <stdint.h>

#include "base/arch.h"

#define TQ_LANES           16
#define TQ_MAX_DIM         1024
#define TQ_MAX_ODD_FACTORS 3 /* 63 = 3 * 3 * 7 */

/* How codes lie in a row (docs/format.md, "Packing"). */
typedef enum tq_packing {
    TQ_PACK_BYTES,  /* one code a byte, in order */
    TQ_PACK_PAIRS,  /* v1, 4 bits: two neighbours a byte, the even one low */
    TQ_PACK_PLANES, /* v2: fields of 4, 2 and 1 bits in planes, 16 coordinates side by side */
} tq_packing;

/* Centroids as whole numbers, for integer attention: centroid = unit (high + low / 128), or unit high
 * where one digit does. Digits are from -127 to 127 and 64; those of a negative centroid are the positive
 * one's with the sign turned. */
typedef struct tq_digit_tables {
    float unit;
    const signed char *high; /* [2^bits], and at least [16]: repeated; by stored code */
    const signed char *low;  /* likewise; NULL: one digit */
    /* What keys take instead, as words of 11 bits: centroid = word_unit * word, by bytes of 16 bits.
     * NULL: they take digits. */
    float word_unit;
    const signed char *word_high, *word_low; /* [2^bits] */
} tq_digit_tables;

/* A codebook as kernels read it. `levels` is indexed by the stored code. */
typedef struct tq_codebook_tables {
    unsigned bits;
    int ranked; /* codes: 1 the centroid's rank (v1), 0 magnitude with the sign on top (v2) */
    tq_packing packing;
    const float *levels;   /* [2^bits] */
    const float *bounds;   /* [2^(bits-1) - 1], the boundaries above zero, ascending */
    const float *tree;     /* [2^(bits-1)], the same as a search tree: node i has children 2i, 2i + 1 */
    const uint8_t *octets; /* 8 bits alone: [4][128], the bytes of the positive levels, lowest first */
    const tq_digit_tables *digits; /* v2 alone */
} tq_codebook_tables;

/* One of the rotation's factors of odd order p: a discrete Hartley transform, row 1. */
typedef struct tq_odd_factor {
    unsigned p;
    const float *cas; /* [p] */
} tq_odd_factor;

/* An orthonormal transform of dim = 2^k * odd factors: a symmetric matrix, and signs. Going in, values
 * are multiplied by their sign and `scale`, then transformed; coming out, transformed, then multiplied.
 * v1 (scale_last) multiplies by the scale after the transform both ways. */
typedef struct tq_rotation {
    unsigned dim;
    unsigned pow2; /* 2^k */
    float tilt;    /* first stage: (a + tilt b, tilt a - b) */
    float scale;   /* what the stages lengthen by, inverted */
    int scale_last;
    unsigned n_odd;
    tq_odd_factor odd[TQ_MAX_ODD_FACTORS];
    const uint8_t *signs; /* bit j flips coordinate j */
} tq_rotation;

#endif
