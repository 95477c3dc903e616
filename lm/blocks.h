/* SPDX-License-Identifier: MIT
 * Uniform rounding in blocks of 32 values, the baseline that the formats are held against. */
#ifndef LM_BLOCKS_H
#define LM_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>

enum { LM_BLOCK = 32 };

/* Bytes of a block: a float16 scale and 32 codes. */
size_t lm_block_bytes(unsigned bits);

/* Replaces n values, a multiple of LM_BLOCK, by what q8_0 (bits 8) or q4_0 (bits 4) makes of them. False
 * if a scale is beyond float16. */
bool lm_blocks_round(unsigned bits, float *x, size_t n);

#endif
