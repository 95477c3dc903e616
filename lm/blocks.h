/* SPDX-License-Identifier: MIT
 * Rounding in blocks of 32 values with a float16 scale: the baselines that the formats are held against.
 */
#ifndef LM_BLOCKS_H
#define LM_BLOCKS_H

#include <stdbool.h>

#include "lm.h"

enum { LM_BLOCK = 32 };

/* Bytes of a block: a float16 scale and 32 codes. */
size_t lm_block_bytes(lm_block block);

/* Replaces n values, a multiple of LM_BLOCK, by what such blocks make of them. False if a scale is beyond
 * float16. */
bool lm_blocks_round(lm_block block, float *x, size_t n);

#endif
