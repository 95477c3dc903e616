/* SPDX-License-Identifier: MIT
 * A model in memory: shapes and weights, as models/README.md names them. */
#ifndef LM_MODEL_H
#define LM_MODEL_H

#include <stdbool.h>

#include "lm.h"
#include "matrix.h"

typedef enum lm_activation { LM_SILU, LM_GELU_TANH } lm_activation;

/* Vectors are NULL where the model has none. */
typedef struct lm_layer {
    lm_layer_shape shape;
    size_t rope; /* which of the model's */
    const float *attention_norm, *mlp_norm;
    const float *attention_post_norm, *mlp_post_norm;
    lm_matrix q, k, v, o;
    const float *q_bias, *k_bias, *v_bias;
    const float *q_norm, *k_norm;
    lm_matrix gate, up, down;
} lm_layer;

/* base^(-2i/D), i < D/2, in double: at position 4096 the angle in float32 would be off by 1e-4. Layers of
 * one base and D share it. */
typedef struct lm_rope {
    double base;
    uint32_t dim;
    double *frequency;
} lm_rope;

/* Bytes [offsets[vocab]]; those of token t are [offsets[t], offsets[t + 1]). */
typedef struct lm_tokens {
    uint8_t *bytes;
    uint32_t *offsets; /* [vocab + 1]; NULL: there is no table */
} lm_tokens;

enum { LM_MOST_ENDS = 16 };

struct lm_model {
    char *name;
    size_t vocab, width, hidden, n_layers, n_parameters;
    float norm_eps, norm_offset, embedding_scale;
    lm_activation activation;
    bool qkv_bias, qk_norm, post_norms, tied_output;
    lm_layer *layers;
    lm_rope *ropes;
    size_t n_ropes;
    lm_matrix embedding, output; /* the same, if the output is tied */
    const float *norm;
    void *weights; /* all of them */
    lm_tokens tokens;
    uint32_t ends[LM_MOST_ENDS]; /* tokens that end a text */
    size_t n_ends;
};

#endif
