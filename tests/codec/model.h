/* SPDX-License-Identifier: MIT
 * v2 in plain float32, written from its definition and from nothing else: one loop a sentence. */
#ifndef TESTS_CODEC_MODEL_H
#define TESTS_CODEC_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/codec.h"

enum { MODEL_MAX_DIM = 1024, MODEL_FIRST_DIM = 32, MODEL_DIM_STEP = 16 };

/* Table of FORMAT: relative squared error of B bits on Gaussian data. */
extern const double model_table[9];

/* 1 if coordinate j is flipped. */
unsigned model_sign(size_t j);

void model_rotate(tq_domain to, size_t dim, const float *x, float *y);

/* The positive half of the codebook: 2^(B-1) centroids and as many boundaries less one. */
const float *model_centroids(unsigned bits);
const float *model_boundaries(unsigned bits);

/* Stored code of a value of unit variance, and the value of a stored code. */
uint8_t model_code(unsigned bits, float u);
float model_centroid(unsigned bits, uint8_t code);

/* float16 by its definition: a number's value, and the nearest number to a magnitude of 65504 at most, of
 * two as near the even one. */
float model_half_value(uint16_t half);
uint16_t model_half(double x);

/* One vector to stored codes, one a byte; returns what the rule makes of its length. model_half() of that
 * is what is stored, unless it is above 65504. centre: float16, may be NULL. */
float model_encode(unsigned bits, size_t dim, tq_norm_rule rule, const float *x, const uint16_t *centre,
                   uint8_t *codes);

/* Back; the centre (in the rotated domain, the rotated one) is added last and may be NULL. */
void model_decode(unsigned bits, size_t dim, tq_domain domain, const uint8_t *codes, uint16_t norm,
                  const uint16_t *centre, float *x);

/* Codes, one a byte, to a packed row of dim * bits / 8 bytes. */
void model_pack(unsigned bits, size_t dim, const uint8_t *codes, uint8_t *row);

#endif
