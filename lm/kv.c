/* SPDX-License-Identifier: MIT
 * The keys and values of a layer of a sequence, in whatever store they are kept. */
#include "kv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "half.h"
#include "kv_blocks.h"
#include "memory.h"

static const float half_max = 65504;

tq_status lm_kv_check(const lm_kv *kv) {
    if ((int)kv->store < LM_STORE_F32 || kv->store > LM_STORE_BLOCKS)
        return tq_fail(TQ_E_FORMAT, 0, "store", "store %d is none", (int)kv->store);
    if (kv->store == LM_STORE_BLOCKS && (unsigned)kv->k_block >= LM_N_BLOCKS)
        return tq_fail(TQ_E_FORMAT, 0, "k_block", "block %d is none", (int)kv->k_block);
    if (kv->store == LM_STORE_BLOCKS && (unsigned)kv->v_block >= LM_N_BLOCKS)
        return tq_fail(TQ_E_FORMAT, 0, "v_block", "block %d is none", (int)kv->v_block);
    if (kv->store == LM_STORE_BLOCKS && kv->centre_stretch != 0 && kv->centre_stretch < kv->learn_centre)
        return tq_fail(TQ_E_POSITION, 0, "centre_stretch", "a centre of %zu keys for %zu positions",
                       kv->learn_centre, kv->centre_stretch);
    if (kv->store != LM_STORE_CACHE) return TQ_OK;
    if (kv->k_dense && kv->v_dense)
        return tq_fail(TQ_E_POLICY, 0, "v_dense", "both sides dense: use LM_STORE_F32");
    if (kv->k_dense && kv->learn_centre > 0)
        return tq_fail(TQ_E_POLICY, 0, "learn_centre",
                       "a centre is for encoded keys; with k_dense they stay as they are");
    return TQ_OK;
}

static size_t item_size(const lm_kv_layer *layer) {
    return layer->kv->store == LM_STORE_F16 ? sizeof(uint16_t) : sizeof(float);
}

size_t lm_layer_holds(const lm_layer_shape *layer, size_t positions) {
    return layer->window == 0 ? positions : (size_t)lm_least(positions, layer->window);
}

static tq_status create_cache(lm_kv_layer *layer) {
    const lm_kv *kv = layer->kv;
    const uint32_t dim = layer->shape.head_dim;
    tq_cache_config config = {
        .size = sizeof config,
        .policy = layer->shape.window == 0 ? TQ_CACHE_GLOBAL : TQ_CACHE_RING,
        .layer = {.n_kv_heads = layer->shape.n_kv_heads,
                  .k = {kv->k_format, dim, kv->k_norm_rule, 1},
                  .v = {kv->v_format, dim, kv->v_norm_rule, 1}},
        .capacity = layer->slots,
        .recent = lm_layer_holds(&layer->shape, kv->recent),
        .sinks = kv->sinks,
        .learn_centre = lm_layer_holds(&layer->shape, kv->learn_centre),
        .centre_stretch = kv->centre_stretch,
    };
    /* A sequence shorter than the window is a ring that never wraps. */
    if (layer->shape.window != 0)
        config.window = layer->shape.window < layer->slots ? (size_t)layer->shape.window : layer->slots;
    return tq_cache_create(&config, &layer->cache);
}

tq_status lm_kv_layer_init(lm_kv_layer *layer, const lm_layer_shape *shape, const lm_kv *kv,
                           size_t capacity, size_t chunk) {
    const uint64_t window = shape->window;
    const bool dense[LM_SIDES] = {kv->store != LM_STORE_CACHE || kv->k_dense,
                                  kv->store != LM_STORE_CACHE || kv->v_dense};
    *layer = (lm_kv_layer){.shape = *shape, .kv = kv, .slots = capacity};
    /* A chunk's first query looks back on the window, its last one adds chunk - 1 positions to that. */
    if (window != 0 && capacity > window && capacity - window > chunk - 1)
        layer->slots = (size_t)window + chunk - 1;
    bool there = true;
    for (unsigned side = LM_K; there && side < LM_SIDES; side++) {
        if (!dense[side]) continue;
        layer->dense[side] =
            lm_alloc(layer->slots, (size_t)shape->n_kv_heads * shape->head_dim * item_size(layer));
        there = layer->dense[side] != NULL;
    }
    if (!there)
        return tq_fail(TQ_E_NO_MEMORY, 0, "capacity", "no memory for keys and values of %zu positions",
                       layer->slots);
    if (kv->store == LM_STORE_BLOCKS) return lm_kv_blocks_init(layer, capacity);
    return kv->store == LM_STORE_CACHE ? create_cache(layer) : TQ_OK;
}

void lm_kv_layer_free(lm_kv_layer *layer) {
    tq_cache_destroy(layer->cache);
    for (unsigned side = LM_K; side < LM_SIDES; side++)
        free(layer->dense[side]);
    free(layer->centres);
    free(layer->lesson);
    *layer = (lm_kv_layer){0};
}

static tq_status check_values(const float *x, size_t n, float most, const char *field) {
    for (size_t i = 0; i < n; i++) {
        if (fabsf(x[i]) <= most) continue;
        const bool number = isfinite(x[i]);
        return tq_fail(number ? TQ_E_RANGE : TQ_E_NOT_FINITE, i, field,
                       "%s: value %zu is %g; %s is expected", field, i, (double)x[i],
                       number ? "a magnitude of at most 65504" : "a finite number");
    }
    return TQ_OK;
}

/* Largest magnitude that a side takes. */
static float limit_of(const lm_kv_layer *layer) {
    const lm_kv *kv = layer->kv;
    const bool helped = kv->recent > 0 || kv->learn_centre > 0 || kv->sinks > 0;
    return kv->store == LM_STORE_F16 || (kv->store == LM_STORE_BLOCKS && helped) ? half_max : INFINITY;
}

/* A vector into its slot, as the store keeps it at first. */
static void put(const lm_kv_layer *layer, unsigned side, size_t slot, const float *x, bool as_half) {
    const size_t dim = layer->shape.head_dim;
    if (layer->kv->store == LM_STORE_F16) {
        uint16_t *out = (uint16_t *)layer->dense[side] + slot * dim;
        for (size_t i = 0; i < dim; i++)
            out[i] = lm_half(x[i]);
        return;
    }
    float *out = (float *)layer->dense[side] + slot * dim;
    for (size_t i = 0; i < dim; i++)
        out[i] = as_half ? lm_from_half(lm_half(x[i])) : x[i];
}

static tq_status append_dense(const lm_kv_layer *layer, unsigned side, uint64_t first, size_t n,
                              const float *x) {
    const size_t heads = layer->shape.n_kv_heads, dim = layer->shape.head_dim;
    tq_status status = check_values(x, n * heads * dim, limit_of(layer), side == LM_K ? "k" : "v");
    for (size_t i = 0; status == TQ_OK && i < n * heads; i++) {
        const uint64_t position = first + i / heads;
        const size_t slot = (size_t)(position % layer->slots);
        const bool as_half =
            layer->kv->store == LM_STORE_BLOCKS && lm_kv_blocks_keep_half(layer, position);
        put(layer, side, i % heads * layer->slots + slot, x + i * dim, as_half);
    }
    return status;
}

tq_status lm_kv_append(lm_kv_layer *layer, uint64_t first, size_t n, const float *k, const float *v) {
    tq_status status = TQ_OK;
    if (layer->dense[LM_K] != NULL) status = append_dense(layer, LM_K, first, n, k);
    if (status == TQ_OK && layer->dense[LM_V] != NULL) status = append_dense(layer, LM_V, first, n, v);
    if (status == TQ_OK && layer->kv->store == LM_STORE_BLOCKS)
        status = lm_kv_blocks_age(layer, first + n);
    if (status == TQ_OK && layer->cache != NULL) status = tq_cache_append(layer->cache, n, k, v);
    return status;
}

void lm_kv_truncate(lm_kv_layer *layer, uint64_t length) {
    if (layer->kv->store == LM_STORE_BLOCKS) lm_kv_blocks_truncate(layer, length);
    if (layer->cache != NULL && tq_cache_length(layer->cache) > length)
        tq_cache_truncate(layer->cache, length); /* the ring has room for a chunk: it cannot fail */
}

static tq_view dense_view(const lm_kv_layer *layer, unsigned side, uint64_t first) {
    const size_t row = layer->shape.head_dim * item_size(layer);
    return (tq_view){.store = layer->kv->store == LM_STORE_F16 ? TQ_STORE_F16 : TQ_STORE_F32,
                     .codec = {.head_dim = layer->shape.head_dim},
                     .data = layer->dense[side],
                     .data_bytes = layer->shape.n_kv_heads * layer->slots * row,
                     .capacity = layer->slots,
                     .ring_start = (size_t)(first % layer->slots)};
}

/* a - b, 0 where b is larger. */
static uint64_t less(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

tq_status lm_kv_segments(const lm_kv_layer *layer, uint64_t length,
                         tq_segment segments[TQ_CACHE_SEGMENTS], size_t *n_segments) {
    if (layer->cache == NULL) {
        const uint64_t first = less(length, layer->slots);
        segments[0] = (tq_segment){.length = (size_t)(length - first), .first_position = first};
        *n_segments = 1;
    } else {
        tq_status status = tq_cache_segments(layer->cache, segments, n_segments);
        if (status != TQ_OK) return status;
    }
    for (size_t i = 0; i < *n_segments; i++) {
        tq_segment *s = &segments[i];
        if (layer->dense[LM_K] != NULL) s->k = dense_view(layer, LM_K, s->first_position);
        if (layer->dense[LM_V] != NULL) s->v = dense_view(layer, LM_V, s->first_position);
    }
    return TQ_OK;
}

/* Vectors of a head: those that a query can see, and what codes make of them and of sinks. */
typedef struct counts {
    uint64_t visible, encoded, halves;
} counts;

/* Bytes of a head's vectors of one side. */
static uint64_t side_bytes(const lm_kv_layer *layer, unsigned side, counts n) {
    const lm_kv *kv = layer->kv;
    const uint64_t dim = layer->shape.head_dim;
    const tq_codec codec = {.format = side == LM_K ? kv->k_format : kv->v_format,
                            .head_dim = layer->shape.head_dim};
    size_t code_bytes = 0, norm_bytes = 0;
    if (kv->store == LM_STORE_BLOCKS)
        code_bytes = dim / LM_BLOCK * lm_block_bytes(side == LM_K ? kv->k_block : kv->v_block);
    else if (layer->dense[side] != NULL)
        return n.visible * dim * item_size(layer);
    else
        tq_row_size(&codec, &code_bytes, &norm_bytes); /* the cache was made with it */
    return n.encoded * (code_bytes + norm_bytes) + n.halves * dim * sizeof(uint16_t);
}

/* Centres of the positions [first, end), which are encoded. */
static uint64_t count_centres(const lm_kv_layer *layer, uint64_t first, uint64_t end) {
    const uint64_t stretch = layer->kv->centre_stretch;
    uint64_t n = 0;
    if (layer->kv->learn_centre == 0) return 0;
    for (uint64_t p = first; p < end; p = stretch == 0 ? end : p - p % stretch + stretch)
        n++;
    return n;
}

void lm_kv_count(const lm_kv_layer *layer, uint64_t length, uint64_t *bytes, uint64_t *values) {
    const lm_layer_shape *s = &layer->shape;
    const uint64_t vector = (uint64_t)s->n_kv_heads * s->head_dim;
    counts n = {.visible = s->window == 0 ? length : lm_least(length, s->window)};
    if (layer->cache != NULL || layer->kv->store == LM_STORE_BLOCKS) {
        const uint64_t sinks = layer->kv->sinks, first = lm_most(length - n.visible, sinks);
        const uint64_t end = lm_most(first, layer->cache != NULL ? tq_cache_encoded_end(layer->cache)
                                                                 : layer->encoded_end);
        n.encoded = end - first;
        n.halves = lm_least(length, sinks) + less(length, end);
        *bytes += count_centres(layer, first, end) * vector * sizeof(uint16_t);
    }
    for (unsigned side = LM_K; side < LM_SIDES; side++)
        *bytes += s->n_kv_heads * side_bytes(layer, side, n);
    *values += n.visible * vector * LM_SIDES;
}
