/* SPDX-License-Identifier: MIT
 * A sequence: its keys and values, and attention over them. */
#include "sequence.h"

#include <stdbool.h>
#include <stdlib.h>

#include "memory.h"

static tq_status check_arguments(const lm_model *model, const lm_kv *kv, size_t capacity, size_t chunk) {
    if (model == NULL || kv == NULL)
        return tq_fail(TQ_E_NULL, 0, model == NULL ? "model" : "kv", "an argument is NULL");
    if (capacity == 0 || chunk == 0)
        return tq_fail(TQ_E_SIZE, 0, capacity == 0 ? "capacity" : "chunk",
                       "capacity %zu and chunk %zu: at least 1 is needed of each", capacity, chunk);
    return lm_kv_check(kv);
}

static tq_status create_layers(lm_sequence *s) {
    tq_status status = TQ_OK;
    s->layers = lm_alloc(s->model->n_layers, sizeof *s->layers);
    if (s->layers == NULL) return tq_fail(TQ_E_NO_MEMORY, 0, "sequence", "no memory for a sequence");
    const size_t n = s->model->n_layers;
    for (size_t i = 0; status == TQ_OK && i < n; i++) {
        const bool outer = i < s->kv.edge || n - 1 - i < s->kv.edge;
        status = lm_kv_layer_init(&s->layers[i], &s->model->layers[i].shape, outer ? &s->edge_kv : &s->kv,
                                  s->capacity, s->chunk);
    }
    return status;
}

tq_status lm_sequence_create(const lm_model *model, const lm_kv *kv, size_t capacity, size_t chunk,
                             const tq_parallel *parallel, lm_sequence **sequence) {
    if (sequence == NULL) return tq_fail(TQ_E_NULL, 0, "sequence", "sequence is NULL");
    *sequence = NULL;
    if (parallel != NULL && parallel->run == NULL)
        return tq_fail(TQ_E_NULL, 0, "parallel", "parallel->run is NULL");
    tq_status status = check_arguments(model, kv, capacity, chunk);
    if (status != TQ_OK) return status;
    lm_sequence *s = lm_alloc(1, sizeof *s);
    if (s == NULL) return tq_fail(TQ_E_NO_MEMORY, 0, "sequence", "no memory for a sequence");
    s->model = model;
    s->kv = s->edge_kv = *kv;
    s->edge_kv.k_format = s->edge_kv.v_format = TQ_TQ8;
    s->capacity = capacity;
    s->chunk = chunk < capacity ? chunk : capacity;
    if (parallel != NULL) {
        s->own_parallel = *parallel;
        s->parallel = &s->own_parallel;
    }
    status = create_layers(s);
    if (status == TQ_OK)
        *sequence = s;
    else
        lm_sequence_free(s);
    return status;
}

void lm_sequence_free(lm_sequence *s) {
    if (s == NULL) return;
    for (size_t i = 0; s->layers != NULL && i < s->model->n_layers; i++)
        lm_kv_layer_free(&s->layers[i]);
    free(s->layers);
    lm_work_free(&s->work);
    free(s->workspace);
    free(s);
}

size_t lm_sequence_length(const lm_sequence *s) {
    return s == NULL ? 0 : s->length;
}

tq_status lm_sequence_bytes(const lm_sequence *s, uint64_t *bytes, uint64_t *values) {
    if (s == NULL || bytes == NULL || values == NULL)
        return tq_fail(TQ_E_NULL, 0,
                       s == NULL       ? "sequence"
                       : bytes == NULL ? "bytes"
                                       : "values",
                       "an argument is NULL");
    *bytes = 0;
    *values = 0;
    for (size_t i = 0; i < s->model->n_layers; i++)
        lm_kv_count(&s->layers[i], s->length, bytes, values);
    return TQ_OK;
}

/* Half as much again as is asked for: the workspace grows with the positions, a little each time. */
static tq_status grow_workspace(lm_sequence *s, size_t bytes) {
    if (bytes <= s->workspace_bytes) return TQ_OK;
    void *memory = lm_alloc(1, bytes + bytes / 2); /* bytes is at most PTRDIFF_MAX */
    if (memory == NULL)
        return tq_fail(TQ_E_NO_MEMORY, 0, "workspace", "no memory for attention: %zu bytes", bytes);
    free(s->workspace);
    s->workspace = memory;
    s->workspace_bytes = bytes + bytes / 2;
    return TQ_OK;
}

/* The last n of the layer's `length` positions. */
static tq_status attend(lm_sequence *s, size_t layer, uint64_t length, size_t n, const float *q,
                        float *out, const tq_parallel *parallel) {
    const lm_kv_layer *kv = &s->layers[layer];
    const lm_layer_shape *shape = &kv->shape;
    const tq_attention_params params = {
        .size = sizeof params,
        .n_heads = shape->n_heads,
        .n_kv_heads = shape->n_kv_heads,
        .head_dim = shape->head_dim,
        .n_queries = n,
        .query_end = length,
        .scale = shape->attention_scale,
        .window = shape->window,
        .domain = TQ_ORIGINAL, /* a cache may hold float16, and dense sides are as the model has them */
        .arithmetic = s->kv.arithmetic,
        .parallel = parallel};
    tq_segment segments[TQ_CACHE_SEGMENTS];
    size_t n_segments = 0, bytes = 0;
    tq_status status = lm_kv_segments(kv, length, segments, &n_segments);
    if (status == TQ_OK) status = tq_attention_workspace(&params, segments, n_segments, &bytes);
    if (status == TQ_OK) status = grow_workspace(s, bytes);
    if (status != TQ_OK) return status;
    const size_t values = (size_t)shape->n_heads * n * shape->head_dim;
    return tq_attention(&params, segments, n_segments, q, values, out, values, NULL, 0, s->workspace,
                        s->workspace_bytes);
}

tq_status lm_sequence_attend(lm_sequence *s, size_t layer, size_t after, size_t n, const float *q,
                             const float *k, const float *v, float *out, const tq_parallel *parallel) {
    const uint64_t first = (uint64_t)s->length + after;
    tq_status status = lm_kv_append(&s->layers[layer], first, n, k, v);
    if (status == TQ_OK) status = attend(s, layer, first + n, n, q, out, parallel);
    if (status != TQ_OK) s->failure = *tq_last_error();
    s->failure.status = status;
    return status;
}

void lm_sequence_take_back(lm_sequence *s) {
    for (size_t i = 0; i < s->model->n_layers; i++)
        lm_kv_truncate(&s->layers[i], s->length);
}
