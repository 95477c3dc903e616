/* SPDX-License-Identifier: MIT
 * A small language model's forward pass, with every layer's keys and values in caches of any format.
 *
 * Model files: models/README.md. Letters: H query heads, G KV heads, D head dimension of a layer; d width
 * of the model. Everything is float32 but what a cache does to keys and values. A model is read-only and
 * may be shared by threads; a sequence belongs to one thread at a time. */
#ifndef TQKV_LM_LM_H
#define TQKV_LM_LM_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/attention.h"
#include "tqkv/cache.h"
#include "tqkv/status.h"

typedef struct lm_model lm_model;
typedef struct lm_sequence lm_sequence;

/* A layer's shape. window: positions a query looks back on, its own included; 0: all. */
typedef struct lm_layer_shape {
    uint32_t n_heads, n_kv_heads, head_dim;
    uint64_t window;
    float attention_scale;
} lm_layer_shape;

typedef struct lm_shape {
    const char *name; /* valid as long as the model */
    size_t vocab, width, n_layers, n_parameters;
    int qkv_bias, qk_norm;
} lm_shape;

/* Reads a model file. *model is for lm_model_free(); NULL on failure.
 * TQ_E_IO, TQ_E_FILE_*, TQ_E_NO_MEMORY; the message names file and field. */
tq_status lm_model_load(const char *path, lm_model **model);
void lm_model_free(lm_model *model);
lm_shape lm_model_shape(const lm_model *model);
lm_layer_shape lm_model_layer(const lm_model *model, size_t layer);

/* What a token stands for: bytes [*length], valid as long as the model, which a text may cut within a
 * character. NULL where the file has no table of tokens: of a model of bytes, it is the byte itself. */
const uint8_t *lm_model_token(const lm_model *model, uint32_t token, size_t *length);

/* Whether the model says with this token that it has finished. */
int lm_model_ends(const lm_model *model, uint32_t token);

/* How a layer's keys and values are kept. */
typedef enum lm_store {
    LM_STORE_F32,   /* as they are */
    LM_STORE_F16,   /* rounded to float16 */
    LM_STORE_CACHE, /* a tq_cache */
    LM_STORE_BLOCKS /* k_block and v_block: a baseline; kept as float32, counted at its true bits */
} lm_store;

/* Blocks of 32 values with a float16 scale, by ggml's rules (lm/blocks.c): 8.5, 5.5 and twice 4.5 bits a
 * value. */
typedef enum lm_block { LM_Q8_0, LM_Q5_0, LM_Q4_0, LM_IQ4_NL, LM_N_BLOCKS } lm_block;

typedef struct lm_kv {
    lm_store store;
    tq_format k_format, v_format; /* CACHE; v1 is refused where a layer's head_dim is not 256 or 512 */
    tq_norm_rule k_norm_rule, v_norm_rule;
    int k_dense, v_dense;      /* CACHE: this side stays float32 (to look at the other alone) */
    lm_block k_block, v_block; /* BLOCKS */
    size_t edge; /* CACHE: so many of the first and of the last layers keep tq8 on both sides */
    int rotate;  /* BLOCKS: vectors are rotated as v2 does before they are rounded */
    /* CACHE and BLOCKS: as in tq_cache_config */
    size_t recent, sinks;     /* recent as lm_layer_holds() says */
    size_t learn_centre;      /* likewise; 0: no centre */
    size_t centre_stretch;    /* 0: one centre for all positions */
    tq_arithmetic arithmetic; /* of attention's products with codes */
} lm_kv;

/* What a layer makes of `recent` and `learn_centre`: at most its window, as older positions are gone. */
size_t lm_layer_holds(const lm_layer_shape *layer, size_t positions);

/* A sequence of at most `capacity` tokens. Window layers keep rings of their window (and chunk - 1 more).
 *
 * chunk      most tokens that one call of lm_prefill() takes; at least 1
 * parallel   threads for attention; NULL: the calling one alone
 * TQ_E_NULL, TQ_E_SIZE, what the caches say, TQ_E_NO_MEMORY. */
tq_status lm_sequence_create(const lm_model *model, const lm_kv *kv, size_t capacity, size_t chunk,
                             const tq_parallel *parallel, lm_sequence **sequence);
void lm_sequence_free(lm_sequence *sequence);
size_t lm_sequence_length(const lm_sequence *sequence);

/* Bytes that keys and values take, norms, centres and padding counted, of the positions that are there
 * and a query can see, and of sinks, which rings keep when none sees them any more; and the number of
 * values that can be seen. Their ratio times 8 is the bits per value. For BLOCKS what such a format would
 * take. */
tq_status lm_sequence_bytes(const lm_sequence *sequence, uint64_t *bytes, uint64_t *values);

/* What a forward pass shows on its way; any function may be NULL. */
typedef struct lm_watch {
    /* q [n_rows][H][D], k and v [n_rows][G][D] of a layer: after RoPE, as attention gets them. */
    void (*qkv)(void *context, size_t layer, size_t n_rows, const float *q, const float *k,
                const float *v);
    /* Attention outputs [n_rows][H][D] of a layer, before its output matrix. */
    void (*attention)(void *context, size_t layer, size_t n_rows, const float *out);
    void *context;
} lm_watch;

/* n tokens after what is there, in chunks. logits: [n][vocab] out, or NULL; last: [vocab] out, those
 * after the last token, or NULL. Rows of watch are the chunk's tokens. TQ_E_NULL, TQ_E_POSITION,
 * TQ_E_RANGE for a token that is not in the vocabulary, what caches and attention say. */
tq_status lm_prefill(const lm_model *model, lm_sequence *sequence, size_t n, const uint32_t *tokens,
                     float *logits, float *last, const lm_watch *watch);

/* One token for each of n sequences: their matrix products are done together, so that weights are read
 * once. tokens [n]; logits [n][vocab] out. Rows of watch are the sequences. */
tq_status lm_decode(const lm_model *model, size_t n, lm_sequence *const *sequences,
                    const uint32_t *tokens, float *logits, const lm_watch *watch);

/* `steps` tokens for each of n sequences, known beforehand: the same bits as as many calls of
 * lm_decode(), in less time. A layer's products are done for all tokens together, its attention token
 * after token on caches as they are then. tokens [steps][n]; *logits [steps][n][vocab] out, valid until
 * the first sequence's next call. Rows of watch are [steps][n]. On failure the sequences are good for
 * lm_sequence_free() alone. TQ_E_NULL, TQ_E_SIZE, and as lm_prefill(). */
tq_status lm_decode_text(const lm_model *model, size_t n, lm_sequence *const *sequences, size_t steps,
                         const uint32_t *tokens, const float **logits, const lm_watch *watch);

#endif
