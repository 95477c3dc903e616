/* SPDX-License-Identifier: MIT
 * A model in memory: shapes and weights in float32, as models/README.md names them. */
#ifndef LM_MODEL_H
#define LM_MODEL_H

#include <stdbool.h>

#include "lm.h"

/* A matrix [out][in], or a vector of `out` values; NULL where the model has none. */
typedef struct lm_layer {
    lm_layer_shape shape;
    size_t rope; /* which of the model's */
    const float *attention_norm, *mlp_norm;
    const float *q, *k, *v, *o;
    const float *q_bias, *k_bias, *v_bias;
    const float *q_norm, *k_norm;
    const float *gate, *up, *down;
} lm_layer;

/* base^(-2i/D), i < D/2, in double: at position 4096 the angle in float32 would be off by 1e-4. Layers of
 * one base and D share it. */
typedef struct lm_rope {
    double base;
    uint32_t dim;
    double *frequency;
} lm_rope;

struct lm_model {
    char *name;
    size_t vocab, width, hidden, n_layers, n_parameters;
    float norm_eps;
    bool qkv_bias, qk_norm;
    lm_layer *layers;
    lm_rope *ropes;
    size_t n_ropes;
    const float *embedding, *norm, *output;
    float *weights; /* all of them */
};

#endif
