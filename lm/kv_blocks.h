/* SPDX-License-Identifier: MIT
 * Blocks with what helps a cache: recent positions and sinks in float16, a centre of keys. */
#ifndef LM_KV_BLOCKS_H
#define LM_KV_BLOCKS_H

#include "kv.h"

/* Room for centres; the layer's arrays are there. TQ_E_HEAD_DIM, TQ_E_NO_MEMORY. */
tq_status lm_kv_blocks_init(lm_kv_layer *layer, size_t capacity);

/* Whether a position's vectors are float16 at first. */
bool lm_kv_blocks_keep_half(const lm_kv_layer *layer, uint64_t position);

/* Rounds what no longer stays in float16, now that there are `length` positions. */
tq_status lm_kv_blocks_age(lm_kv_layer *layer, uint64_t length);

/* `length` positions stay. */
void lm_kv_blocks_truncate(lm_kv_layer *layer, uint64_t length);

#endif
