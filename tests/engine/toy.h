/* SPDX-License-Identifier: MIT
 * What stands in for a model's weights: anything that makes queries, keys and values out of tokens will
 * do. */
#ifndef TESTS_ENGINE_TOY_H
#define TESTS_ENGINE_TOY_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/types.h"

enum { TOY_WIDTH = 96 };

/* x: [TOY_WIDTH] out, the hidden state of a token at a position. */
void toy_embed(uint32_t token, uint64_t position, float *x);

/* y: [n] out, a layer's queries, keys and values of a hidden state, n of them side by side. */
void toy_project(size_t layer, const float *x, size_t n, tq_type type, void *y);

/* Adds a layer's attention, [n] values, to a hidden state. */
void toy_add(size_t layer, const void *attended, size_t n, tq_type type, float *x);

/* The token that a hidden state says is next. */
uint32_t toy_next(const float *x);

size_t toy_size(tq_type type);

/* Element i of an array. */
float toy_value(tq_type type, const void *array, size_t i);

/* A value as the type holds it. */
float toy_rounded(tq_type type, float x);

#endif
