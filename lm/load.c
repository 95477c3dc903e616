/* SPDX-License-Identifier: MIT
 * Reads a model file: shapes from its metadata, then what weights.c and tokens.c find in it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "memory.h"
#include "product.h"
#include "tokens.h"
#include "weights.h"

/* Far more than a model that a single machine's processor runs; products of two stay below 2^53. */
enum {
    MOST_LAYERS = 1024,
    MOST_WIDTH = 1 << 20,
    MOST_HEADS = 1024,
    MOST_HEAD_DIM = 1024,
    MOST_VOCAB = 1 << 24
};

static tq_status no_memory(const lm_file *f) {
    return lm_file_fail(f, TQ_E_NO_MEMORY, "path", "no memory for the model");
}

static tq_status read_size(const lm_file *f, const char *key, double least, double most, size_t *out) {
    double number = 0;
    tq_status status = lm_field_numbers(f, key, (lm_range){least, most, true}, 1, &number);
    if (status == TQ_OK) *out = (size_t)number;
    return status;
}

/* A number that older files do not have. */
static tq_status read_number(const lm_file *f, const char *key, lm_range range, double usual,
                             float *out) {
    double number = usual;
    tq_status status = lm_field_is_there(f, key) ? lm_field_numbers(f, key, range, 1, &number) : TQ_OK;
    if (status == TQ_OK) *out = (float)number;
    return status;
}

static tq_status read_flag(const lm_file *f, const char *key, bool needed, bool *out) {
    size_t number = 0;
    tq_status status = needed || lm_field_is_there(f, key) ? read_size(f, key, 0, 1, &number) : TQ_OK;
    if (status == TQ_OK) *out = number == 1;
    return status;
}

static tq_status read_activation(const lm_file *f, lm_activation *out) {
    const char *text;
    tq_status status = lm_field_text(f, "activation", &text);
    *out = LM_GELU_TANH;
    if (status != TQ_OK || strcmp(text, "gelu_tanh") == 0) return status;
    *out = LM_SILU;
    if (strcmp(text, "silu") == 0) return TQ_OK;
    return lm_field_fail(f, "activation", text, "silu and gelu_tanh are served");
}

static tq_status read_sizes(const lm_file *f, lm_model *m) {
    tq_status status = read_size(f, "vocab", 1, MOST_VOCAB, &m->vocab);
    if (status == TQ_OK) status = read_size(f, "d", 1, MOST_WIDTH, &m->width);
    if (status == TQ_OK) status = read_size(f, "d_ff", 1, MOST_WIDTH, &m->hidden);
    if (status == TQ_OK) status = read_size(f, "n_layers", 1, MOST_LAYERS, &m->n_layers);
    return status;
}

static tq_status read_rules(const lm_file *f, lm_model *m) {
    double eps = 0;
    tq_status status = lm_field_numbers(f, "norm_eps", (lm_range){0, 1, false}, 1, &eps);
    m->norm_eps = (float)eps;
    if (status == TQ_OK) status = read_activation(f, &m->activation);
    if (status == TQ_OK)
        status = read_number(f, "norm_offset", (lm_range){-16, 16, false}, 0, &m->norm_offset);
    if (status == TQ_OK)
        status = read_number(f, "embedding_scale", (lm_range){1e-6, 1e6, false}, 1, &m->embedding_scale);
    if (status == TQ_OK) status = read_flag(f, "qkv_bias", true, &m->qkv_bias);
    if (status == TQ_OK) status = read_flag(f, "qk_norm", true, &m->qk_norm);
    if (status == TQ_OK) status = read_flag(f, "post_norms", false, &m->post_norms);
    if (status == TQ_OK) status = read_flag(f, "tied_output", false, &m->tied_output);
    return status;
}

static tq_status read_shape(const lm_file *f, lm_model *m) {
    static const char *const fixed[][2] = {
        {"version", "1"}, {"rope_pairing", "halves"}, {"softcap", "0"}};
    const char *name;
    tq_status status = TQ_OK;
    for (size_t i = 0; status == TQ_OK && i < sizeof fixed / sizeof fixed[0]; i++)
        status = lm_field_is(f, fixed[i][0], fixed[i][1]);
    if (status == TQ_OK) status = lm_field_text(f, "name", &name);
    if (status == TQ_OK) status = read_sizes(f, m);
    if (status == TQ_OK) status = read_rules(f, m);
    if (status != TQ_OK) return status;
    m->name = lm_alloc(strlen(name) + 1, 1);
    m->layers = lm_alloc(m->n_layers, sizeof *m->layers);
    m->ropes = lm_alloc(m->n_layers, sizeof *m->ropes);
    if (m->name == NULL || m->layers == NULL || m->ropes == NULL) return no_memory(f);
    strcpy(m->name, name);
    return TQ_OK;
}

enum { HEADS, KV_HEADS, HEAD_DIM, WINDOW, ROPE_BASE, SCALE, BY_LAYER };

static tq_status check_layer(const lm_file *f, size_t i, const lm_layer_shape *s) {
    if (s->n_heads % s->n_kv_heads != 0)
        return lm_file_fail(f, TQ_E_FILE_SHAPE, "n_kv_heads",
                            "layer %zu: %u query heads do not share out %u KV heads", i, s->n_heads,
                            s->n_kv_heads);
    if (s->head_dim % 16 != 0)
        return lm_file_fail(f, TQ_E_FILE_SHAPE, "head_dim",
                            "layer %zu: head_dim %u: multiples of 16 from 32 to 1024 are served", i,
                            s->head_dim);
    return TQ_OK;
}

/* The table for base and dim: the one that is there, or a new one. */
static tq_status find_rope(const lm_file *f, lm_model *m, double base, uint32_t dim, size_t *out) {
    for (*out = 0; *out < m->n_ropes; (*out)++)
        if (m->ropes[*out].base == base && m->ropes[*out].dim == dim) return TQ_OK;
    lm_rope *r = &m->ropes[m->n_ropes];
    *r = (lm_rope){base, dim, lm_alloc(dim / 2, sizeof *r->frequency)};
    if (r->frequency == NULL) return no_memory(f);
    m->n_ropes++;
    for (uint32_t i = 0; i < dim / 2; i++)
        r->frequency[i] = pow(base, -2.0 * i / dim);
    return TQ_OK;
}

static tq_status read_layers(const lm_file *f, lm_model *m) {
    static const struct {
        const char *key;
        lm_range range;
    } fields[BY_LAYER] = {
        {"n_heads", {1, MOST_HEADS, true}},      {"n_kv_heads", {1, MOST_HEADS, true}},
        {"head_dim", {32, MOST_HEAD_DIM, true}}, {"window", {0, 0x1p40, true}},
        {"rope_base", {1, 1e12, false}},         {"attention_scale", {1e-6, 1e6, false}}};
    double(*number)[MOST_LAYERS] = lm_alloc(BY_LAYER, sizeof *number);
    tq_status status = number == NULL ? no_memory(f) : TQ_OK;
    for (size_t i = 0; status == TQ_OK && i < BY_LAYER; i++)
        status = lm_field_numbers(f, fields[i].key, fields[i].range, m->n_layers, number[i]);
    for (size_t i = 0; status == TQ_OK && i < m->n_layers; i++) {
        lm_layer *layer = &m->layers[i];
        layer->shape = (lm_layer_shape){.n_heads = (uint32_t)number[HEADS][i],
                                        .n_kv_heads = (uint32_t)number[KV_HEADS][i],
                                        .head_dim = (uint32_t)number[HEAD_DIM][i],
                                        .window = (uint64_t)number[WINDOW][i],
                                        .attention_scale = (float)number[SCALE][i]};
        status = check_layer(f, i, &layer->shape);
        if (status == TQ_OK)
            status = find_rope(f, m, number[ROPE_BASE][i], layer->shape.head_dim, &layer->rope);
    }
    free(number);
    return status;
}

static tq_status read_model(const lm_file *f, lm_model *m) {
    tq_status status = read_shape(f, m);
    if (status == TQ_OK) status = read_layers(f, m);
    if (status == TQ_OK) status = lm_weights_read(f, m);
    if (status == TQ_OK) status = lm_tokens_read(f, m);
    return status;
}

tq_status lm_model_load(const char *path, lm_model **model) {
    if (model == NULL) return tq_fail(TQ_E_NULL, 0, "model", "model is NULL");
    *model = NULL;
    if (path == NULL) return tq_fail(TQ_E_NULL, 0, "path", "path is NULL");
    tq_safetensors *tensors = NULL;
    lm_file file = {.path = path};
    tq_status status = tq_safetensors_read(path, &tensors);
    if (status != TQ_OK) return status;
    file.tensors = tensors;
    lm_products_set_up();
    lm_model *m = lm_alloc(1, sizeof *m);
    status = m == NULL ? no_memory(&file) : read_model(&file, m);
    tq_safetensors_free(tensors);
    if (status == TQ_OK)
        *model = m;
    else
        lm_model_free(m);
    return status;
}

void lm_model_free(lm_model *model) {
    if (model == NULL) return;
    for (size_t i = 0; i < model->n_ropes; i++)
        free(model->ropes[i].frequency);
    free(model->ropes);
    free(model->layers);
    free(model->weights);
    lm_tokens_free(&model->tokens);
    free(model->name);
    free(model);
}

lm_shape lm_model_shape(const lm_model *model) {
    return (lm_shape){.name = model->name,
                      .vocab = model->vocab,
                      .width = model->width,
                      .n_layers = model->n_layers,
                      .n_parameters = model->n_parameters,
                      .qkv_bias = model->qkv_bias,
                      .qk_norm = model->qk_norm};
}

lm_layer_shape lm_model_layer(const lm_model *model, size_t layer) {
    return model->layers[layer].shape;
}
