/* SPDX-License-Identifier: MIT
 * A sequence: its keys and values, and the memory to work with. */
#ifndef LM_SEQUENCE_H
#define LM_SEQUENCE_H

#include "kv.h"
#include "work.h"

struct lm_sequence {
    const lm_model *model;
    lm_kv kv, edge_kv; /* of the layers between, and of the outer ones */
    size_t capacity, chunk, length;
    const tq_parallel *parallel; /* NULL, or own_parallel */
    tq_parallel own_parallel;
    lm_kv_layer *layers;
    lm_work work;    /* of a prefill, or of a batch that this sequence is the first of */
    void *workspace; /* tq_attention()'s */
    size_t workspace_bytes;
    tq_error failure; /* of a task, which may run on a thread whose last error nobody asks for */
};

/* Appends n rows of k and v [n][G][D] to a layer, `after` positions past the sequence's length, and
 * attends with q [H][n][D]: out [H][n][D]. Failures are left in sequence->failure too. */
tq_status lm_sequence_attend(lm_sequence *s, size_t layer, size_t after, size_t n, const float *q,
                             const float *k, const float *v, float *out, const tq_parallel *parallel);

/* All layers back to the sequence's length, after a pass that failed. */
void lm_sequence_take_back(lm_sequence *s);

#endif
