/* SPDX-License-Identifier: MIT
 * The keys and values of a layer of a sequence, in whatever store they are kept. */
#ifndef LM_KV_H
#define LM_KV_H

#include <stdbool.h>

#include "lm.h"

enum { LM_K, LM_V, LM_SIDES };

static inline uint64_t lm_least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static inline uint64_t lm_most(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

typedef struct lm_kv_layer {
    lm_layer_shape shape;
    const lm_kv *kv;       /* the sequence's */
    size_t slots;          /* positions that are kept: all, or a ring of the window and chunk - 1 more */
    tq_cache *cache;       /* LM_STORE_CACHE; otherwise NULL */
    void *dense[LM_SIDES]; /* [G][slots][D], position p in slot p % slots; NULL: the cache has the side */
    /* LM_STORE_BLOCKS */
    uint64_t encoded_end; /* positions below it are rounded to blocks, or sinks */
    uint16_t *centres;    /* [stretches][G][D] float16; NULL: none */
    float *lesson;        /* [G][keys that a centre is learned from][D] */
} lm_kv_layer;

/* What of it no layer could serve. TQ_E_FORMAT, TQ_E_BITS, TQ_E_POLICY. */
tq_status lm_kv_check(const lm_kv *kv);

/* kv must stay where it is. On failure lm_kv_layer_free() is still due. */
tq_status lm_kv_layer_init(lm_kv_layer *layer, const lm_layer_shape *shape, const lm_kv *kv,
                           size_t capacity, size_t chunk);
void lm_kv_layer_free(lm_kv_layer *layer);

/* n positions [n][G][D] from `first` on, which is as many as there are. */
tq_status lm_kv_append(lm_kv_layer *layer, uint64_t first, size_t n, const float *k, const float *v);

/* Takes back an append of no more than a chunk: `length` positions stay. */
void lm_kv_truncate(lm_kv_layer *layer, uint64_t length);

/* The positions below length that are there, for tq_attention(). Returns how many segments. */
tq_status lm_kv_segments(const lm_kv_layer *layer, uint64_t length,
                         tq_segment segments[TQ_CACHE_SEGMENTS], size_t *n_segments);

/* Adds what lm_sequence_bytes() counts. */
void lm_kv_count(const lm_kv_layer *layer, uint64_t length, uint64_t *bytes, uint64_t *values);

#endif
