/* SPDX-License-Identifier: MIT
 * Activations of a forward pass. */
#include "work.h"

#include <stdlib.h>

#include "memory.h"
#include "product.h"

static size_t widest(const lm_model *m, bool query) {
    size_t most = 0;
    for (size_t i = 0; i < m->n_layers; i++) {
        const lm_layer_shape *s = &m->layers[i].shape;
        const size_t width = (size_t)(query ? s->n_heads : s->n_kv_heads) * s->head_dim;
        if (width > most) most = width;
    }
    return most;
}

static size_t rope_width(const lm_model *m, size_t n_ropes) {
    size_t sum = 0;
    for (size_t i = 0; i < n_ropes; i++)
        sum += m->ropes[i].dim;
    return sum;
}

tq_status lm_work_grow(lm_work *work, const lm_model *m, size_t n) {
    if (n <= work->rows) return TQ_OK;
    const size_t query = widest(m, true), kv = widest(m, false), padded = (n - 1) / LM_ROWS + 1;
    struct part {
        float **start;
        size_t width;
    };
    lm_work w = {0};
    const struct part parts[] = {{&w.x, m->width},
                                 {&w.h, m->width},
                                 {&w.q, query},
                                 {&w.k, kv},
                                 {&w.v, kv},
                                 {&w.y, query},
                                 {&w.q_heads, query},
                                 {&w.y_heads, query},
                                 {&w.gate, m->hidden},
                                 {&w.up, m->hidden},
                                 {&w.logits, m->vocab},
                                 {&w.rope, rope_width(m, m->n_ropes)}};
    const size_t n_parts = sizeof parts / sizeof parts[0];
    size_t width = 0; /* each below 2^30: no overflow */
    for (size_t i = 0; i < n_parts; i++)
        width += parts[i].width;
    w.memory = lm_alloc(padded, LM_ROWS * width * sizeof *w.memory);
    if (w.memory == NULL)
        return tq_fail(TQ_E_NO_MEMORY, 0, "chunk", "no memory for the activations of %zu rows", n);
    w.rows = padded * LM_ROWS;
    float *at = w.memory;
    for (size_t i = 0; i < n_parts; i++) {
        *parts[i].start = at;
        at += parts[i].width * w.rows;
    }
    lm_work_free(work);
    *work = w;
    return TQ_OK;
}

void lm_work_free(lm_work *work) {
    free(work->memory);
    *work = (lm_work){0};
}

float *lm_work_rope(const lm_work *work, const lm_model *m, size_t rope, size_t row) {
    return work->rope + rope_width(m, rope) * work->rows + row * m->ropes[rope].dim;
}
