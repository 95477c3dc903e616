/* SPDX-License-Identifier: MIT
 * Reads a model file: shapes from its metadata, then every tensor against them, then the weights. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "memory.h"
#include "model.h"
#include "product.h"

/* Far more than a model that a single machine's processor runs; products of two stay below 2^53. */
enum { MOST_LAYERS = 1024, MOST_WIDTH = 1 << 20, MOST_HEADS = 1024, MOST_HEAD_DIM = 1024, BYTES = 256 };

static tq_status no_memory(const lm_file *f) {
    return lm_file_fail(f, TQ_E_NO_MEMORY, "path", "no memory for the model");
}

static tq_status read_size(const lm_file *f, const char *key, double least, double most, size_t *out) {
    double number = 0;
    tq_status status = lm_field_numbers(f, key, (lm_range){least, most, true}, 1, &number);
    if (status == TQ_OK) *out = (size_t)number;
    return status;
}

static tq_status read_shape(const lm_file *f, lm_model *m) {
    static const char *const fixed[][2] = {
        {"version", "1"}, {"activation", "silu"}, {"rope_pairing", "halves"}, {"softcap", "0"}};
    const char *name;
    size_t bias = 0, norm = 0;
    double eps = 0;
    tq_status status = TQ_OK;
    for (size_t i = 0; status == TQ_OK && i < sizeof fixed / sizeof fixed[0]; i++)
        status = lm_field_is(f, fixed[i][0], fixed[i][1]);
    if (status == TQ_OK) status = lm_field_text(f, "name", &name);
    if (status == TQ_OK) status = read_size(f, "vocab", BYTES, BYTES, &m->vocab);
    if (status == TQ_OK) status = read_size(f, "d", 1, MOST_WIDTH, &m->width);
    if (status == TQ_OK) status = read_size(f, "d_ff", 1, MOST_WIDTH, &m->hidden);
    if (status == TQ_OK) status = read_size(f, "n_layers", 1, MOST_LAYERS, &m->n_layers);
    if (status == TQ_OK) status = read_size(f, "qkv_bias", 0, 1, &bias);
    if (status == TQ_OK) status = read_size(f, "qk_norm", 0, 1, &norm);
    if (status == TQ_OK) status = lm_field_numbers(f, "norm_eps", (lm_range){0, 1, false}, 1, &eps);
    if (status != TQ_OK) return status;
    m->qkv_bias = bias == 1;
    m->qk_norm = norm == 1;
    m->norm_eps = (float)eps;
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

/* Goes over all tensors twice: with weights NULL it checks and counts, then it fills. */
typedef struct taking {
    lm_file file;
    float *weights;
    size_t used;         /* floats, each tensor from a multiple of 64 bytes */
    size_t n_parameters; /* without that padding */
    char name[64];
    tq_status status; /* the first that is not TQ_OK ends the rest */
} taking;

static tq_status check_tensor(const lm_file *f, const char *name, const tq_raw_tensor *t, size_t rows,
                              size_t columns) {
    const size_t n_dims = columns == 0 ? 1 : 2;
    if (strcmp(t->type, "BF16") != 0)
        return lm_file_fail(f, TQ_E_FILE_TYPE, name, "tensor %s is %s; BF16 is expected", name, t->type);
    if (t->n_dims == n_dims && t->shape[0] == rows && (columns == 0 || t->shape[1] == columns))
        return TQ_OK;
    if (columns == 0)
        return lm_file_fail(f, TQ_E_FILE_SHAPE, name, "tensor %s: shape [%zu] is expected", name, rows);
    return lm_file_fail(f, TQ_E_FILE_SHAPE, name, "tensor %s: shape [%zu, %zu] is expected", name, rows,
                        columns);
}

static tq_status fill(const lm_file *f, const char *name, const tq_raw_tensor *t, float *out) {
    for (size_t i = 0; i < t->n_values; i++) {
        const uint32_t bits = (uint32_t)t->bytes[2 * i] << 16 | (uint32_t)t->bytes[2 * i + 1] << 24;
        memcpy(&out[i], &bits, sizeof bits);
        if (!isfinite(out[i]))
            return lm_file_fail(f, TQ_E_FILE_FIELD, name,
                                "tensor %s: value %zu (byte %llu) is %g; a finite number is expected",
                                name, i, (unsigned long long)(t->at + 2 * i), (double)out[i]);
    }
    return TQ_OK;
}

static const float *take(taking *t, size_t rows, size_t columns, const char *format, ...) TQ_PRINTF(4, 5);

/* The tensor of that name, [rows][columns]; columns 0: a vector. */
static const float *take(taking *t, size_t rows, size_t columns, const char *format, ...) {
    tq_raw_tensor tensor;
    va_list arguments;
    if (t->status != TQ_OK) return NULL;
    va_start(arguments, format);
    vsnprintf(t->name, sizeof t->name, format, arguments);
    va_end(arguments);
    t->status = tq_safetensors_tensor(t->file.tensors, t->name, &tensor);
    if (t->status == TQ_OK) t->status = check_tensor(&t->file, t->name, &tensor, rows, columns);
    float *place = t->weights == NULL ? NULL : t->weights + t->used;
    if (t->status == TQ_OK && place != NULL) t->status = fill(&t->file, t->name, &tensor, place);
    if (t->status != TQ_OK) return NULL;
    t->used += (tensor.n_values + 15) / 16 * 16; /* it lies in the file: no overflow */
    t->n_parameters += tensor.n_values;
    return place;
}

static void take_layer(taking *t, const lm_model *m, size_t i, lm_layer *layer) {
    const size_t d = m->width, dim = layer->shape.head_dim;
    const size_t q = layer->shape.n_heads * dim, kv = layer->shape.n_kv_heads * dim;
    layer->attention_norm = take(t, d, 0, "layers.%zu.attention_norm.weight", i);
    layer->mlp_norm = take(t, d, 0, "layers.%zu.mlp_norm.weight", i);
    layer->q = take(t, q, d, "layers.%zu.attention.q.weight", i);
    layer->k = take(t, kv, d, "layers.%zu.attention.k.weight", i);
    layer->v = take(t, kv, d, "layers.%zu.attention.v.weight", i);
    layer->o = take(t, d, q, "layers.%zu.attention.o.weight", i);
    if (m->qkv_bias) {
        layer->q_bias = take(t, q, 0, "layers.%zu.attention.q.bias", i);
        layer->k_bias = take(t, kv, 0, "layers.%zu.attention.k.bias", i);
        layer->v_bias = take(t, kv, 0, "layers.%zu.attention.v.bias", i);
    }
    if (m->qk_norm) {
        layer->q_norm = take(t, dim, 0, "layers.%zu.attention.q_norm.weight", i);
        layer->k_norm = take(t, dim, 0, "layers.%zu.attention.k_norm.weight", i);
    }
    layer->gate = take(t, m->hidden, d, "layers.%zu.mlp.gate.weight", i);
    layer->up = take(t, m->hidden, d, "layers.%zu.mlp.up.weight", i);
    layer->down = take(t, d, m->hidden, "layers.%zu.mlp.down.weight", i);
}

static void take_all(taking *t, lm_model *m) {
    t->used = 0;
    t->n_parameters = 0;
    m->embedding = take(t, m->vocab, m->width, "embedding.weight");
    m->norm = take(t, m->width, 0, "norm.weight");
    m->output = take(t, m->vocab, m->width, "output.weight");
    for (size_t i = 0; i < m->n_layers; i++)
        take_layer(t, m, i, &m->layers[i]);
    m->n_parameters = t->n_parameters;
}

static tq_status read_model(const lm_file *f, lm_model *m) {
    taking t = {.file = *f};
    tq_status status = read_shape(f, m);
    if (status == TQ_OK) status = read_layers(f, m);
    if (status != TQ_OK) return status;
    take_all(&t, m);
    if (t.status != TQ_OK) return t.status;
    t.weights = m->weights = lm_alloc(t.used, sizeof *t.weights);
    if (m->weights == NULL) return no_memory(f);
    take_all(&t, m);
    return t.status;
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
