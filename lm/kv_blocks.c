/* SPDX-License-Identifier: MIT
 * Blocks with what helps a cache: recent positions and sinks in float16, a centre of keys, by the rules
 * of tqkv/cache.h, so that what is left to compare are the codes. Vectors lie in the layer's float32
 * arrays: as float16 has them, and from their turn on as blocks have them. */
#include <string.h>

#include "blocks.h"
#include "half.h"
#include "kv_blocks.h"
#include "memory.h"

static size_t learned(const lm_kv_layer *layer) {
    return lm_layer_holds(&layer->shape, layer->kv->learn_centre);
}

tq_status lm_kv_blocks_init(lm_kv_layer *layer, size_t capacity) {
    const lm_layer_shape *s = &layer->shape;
    const size_t vector = (size_t)s->n_kv_heads * s->head_dim, stretch = layer->kv->centre_stretch;
    if (s->head_dim % LM_BLOCK != 0)
        return tq_fail(TQ_E_HEAD_DIM, 0, "store", "head_dim %u does not fall into blocks of %d",
                       s->head_dim, LM_BLOCK);
    layer->encoded_end = layer->kv->sinks;
    if (learned(layer) == 0) return TQ_OK;
    layer->centres =
        lm_alloc(stretch == 0 ? 1 : (capacity - 1) / stretch + 1, vector * sizeof *layer->centres);
    layer->lesson = lm_alloc(learned(layer), vector * sizeof *layer->lesson);
    if (layer->centres == NULL || layer->lesson == NULL)
        return tq_fail(TQ_E_NO_MEMORY, 0, "capacity", "no memory for centres of keys");
    return TQ_OK;
}

bool lm_kv_blocks_keep_half(const lm_kv_layer *layer, uint64_t position) {
    const lm_kv *kv = layer->kv;
    return kv->recent > 0 || kv->learn_centre > 0 || position < kv->sinks;
}

static float *vector_at(const lm_kv_layer *layer, unsigned side, uint64_t position, size_t head) {
    const size_t slot = head * layer->slots + (size_t)(position % layer->slots);
    return (float *)layer->dense[side] + slot * layer->shape.head_dim;
}

/* [G][D] of the stretch that a position lies in. */
static uint16_t *centre_at(const lm_kv_layer *layer, uint64_t position) {
    const size_t stretch = layer->kv->centre_stretch;
    const size_t row = stretch == 0 ? 0 : (size_t)(position / stretch);
    return layer->centres + row * layer->shape.n_kv_heads * layer->shape.head_dim;
}

/* From a stretch's first key on, sinks passed over. */
static tq_status learn(const lm_kv_layer *layer, uint64_t begin, size_t n) {
    const lm_layer_shape *s = &layer->shape;
    const tq_batch batch = {.heads = s->n_kv_heads, .rows = n};
    const size_t vector = (size_t)s->n_kv_heads * s->head_dim;
    for (size_t h = 0; h < s->n_kv_heads; h++)
        for (size_t i = 0; i < n; i++)
            memcpy(layer->lesson + (h * n + i) * s->head_dim, vector_at(layer, LM_K, begin + i, h),
                   s->head_dim * sizeof *layer->lesson);
    return tq_learn_centre(s->head_dim, &batch, layer->lesson, n * vector, centre_at(layer, begin),
                           vector);
}

static tq_status round_vector(const lm_kv_layer *layer, unsigned side, float *x, const uint16_t *centre) {
    const size_t dim = layer->shape.head_dim;
    const tq_codec codec = {.format = TQ_TQ4, .head_dim = layer->shape.head_dim};
    const lm_block block = side == LM_K ? layer->kv->k_block : layer->kv->v_block;
    tq_status status = TQ_OK;
    for (size_t i = 0; centre != NULL && i < dim; i++)
        x[i] -= lm_from_half(centre[i]);
    if (layer->kv->rotate) status = tq_rotate(&codec, TQ_ROTATED, 1, x, x);
    if (status == TQ_OK && !lm_blocks_round(block, x, dim))
        status = tq_fail(TQ_E_RANGE, 0, side == LM_K ? "k" : "v", "a block's scale is beyond float16");
    if (status == TQ_OK && layer->kv->rotate) status = tq_rotate(&codec, TQ_ORIGINAL, 1, x, x);
    for (size_t i = 0; centre != NULL && i < dim; i++)
        x[i] += lm_from_half(centre[i]);
    return status;
}

static tq_status round_position(const lm_kv_layer *layer, uint64_t position) {
    const lm_layer_shape *s = &layer->shape;
    const uint16_t *centre = learned(layer) > 0 ? centre_at(layer, position) : NULL;
    tq_status status = TQ_OK;
    for (unsigned side = LM_K; side < LM_SIDES; side++)
        for (size_t h = 0; status == TQ_OK && h < s->n_kv_heads; h++)
            status = round_vector(layer, side, vector_at(layer, side, position, h),
                                  side == LM_K && centre != NULL ? centre + h * s->head_dim : NULL);
    return status;
}

/* Makes sure of the centre of the stretch [start, end) that is encoded next; *there: its keys are. */
static tq_status know_centre(const lm_kv_layer *layer, uint64_t start, uint64_t end, uint64_t length,
                             bool *there) {
    const uint64_t begin = lm_most(start, layer->kv->sinks), n = lm_least(learned(layer), end - begin);
    *there = layer->encoded_end > begin || begin + n <= length;
    return *there && layer->encoded_end <= begin ? learn(layer, begin, (size_t)n) : TQ_OK;
}

tq_status lm_kv_blocks_age(lm_kv_layer *layer, uint64_t length) {
    const uint64_t recent = lm_layer_holds(&layer->shape, layer->kv->recent);
    const uint64_t end = length > recent ? length - recent : 0;
    const uint64_t stretch = layer->kv->centre_stretch;
    while (layer->encoded_end < end) {
        const uint64_t p = layer->encoded_end, start = stretch == 0 ? 0 : p - p % stretch;
        const uint64_t stop = stretch == 0 ? UINT64_MAX : start + stretch;
        bool there = true;
        tq_status status = learned(layer) > 0 ? know_centre(layer, start, stop, length, &there) : TQ_OK;
        /* Of a long chunk the first ones have been overwritten in a ring: no query sees them. */
        for (uint64_t q = p; there && status == TQ_OK && q < lm_least(stop, end); q++)
            if (q + layer->slots >= length) status = round_position(layer, q);
        if (!there || status != TQ_OK) return status;
        layer->encoded_end = lm_least(stop, end);
    }
    return TQ_OK;
}

void lm_kv_blocks_truncate(lm_kv_layer *layer, uint64_t length) {
    layer->encoded_end = lm_most(layer->kv->sinks, lm_least(layer->encoded_end, length));
}
