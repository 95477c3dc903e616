/* SPDX-License-Identifier: MIT
 * The tensors of a model file: all are looked at before memory for them is asked for. */
#include "weights.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

enum { ALIGNMENT = 64 };

/* Goes over all tensors twice: with weights NULL it checks and counts, then it fills. */
typedef struct taking {
    lm_file file;
    unsigned char *weights;
    size_t used;         /* bytes, each tensor from a multiple of 64 */
    size_t n_parameters; /* values, without that padding */
    float norm_offset;
    char name[64];
    tq_status status; /* the first that is not TQ_OK ends the rest */
} taking;

static tq_status type_of(const lm_file *f, const char *name, const tq_raw_tensor *t, lm_type *type) {
    static const char *const names[] = {[LM_F32] = "F32", [LM_F16] = "F16", [LM_BF16] = "BF16"};
    for (unsigned i = LM_F32; i <= LM_BF16; i++) {
        *type = (lm_type)i;
        if (strcmp(t->type, names[i]) == 0) return TQ_OK;
    }
    return lm_file_fail(f, TQ_E_FILE_TYPE, name, "tensor %s is %s; F16, BF16 or F32 is expected", name,
                        t->type);
}

static tq_status check_shape(const lm_file *f, const char *name, const tq_raw_tensor *t, size_t rows,
                             size_t columns) {
    const size_t n_dims = columns == 0 ? 1 : 2;
    if (t->n_dims == n_dims && t->shape[0] == rows && (columns == 0 || t->shape[1] == columns))
        return TQ_OK;
    if (columns == 0)
        return lm_file_fail(f, TQ_E_FILE_SHAPE, name, "tensor %s: shape [%zu] is expected", name, rows);
    return lm_file_fail(f, TQ_E_FILE_SHAPE, name, "tensor %s: shape [%zu, %zu] is expected", name, rows,
                        columns);
}

/* Items in the machine's order of bytes; the first that is no finite number is told. */
static tq_status fill(const lm_file *f, const char *name, const tq_raw_tensor *t, lm_type type,
                      void *out) {
    static const uint32_t exponents[] = {[LM_F32] = 0x7f800000, [LM_F16] = 0x7c00, [LM_BF16] = 0x7f80};
    const size_t size = lm_type_size(type);
    const uint32_t exponent = exponents[type];
    for (size_t i = 0; i < t->n_values; i++) {
        const uint32_t bits = lm_item(t->bytes + size * i, size);
        if (size == sizeof(uint32_t))
            ((uint32_t *)out)[i] = bits;
        else
            ((uint16_t *)out)[i] = (uint16_t)bits;
        if ((bits & exponent) != exponent) continue;
        float x;
        lm_widen(type, out, i, 1, &x);
        return lm_file_fail(f, TQ_E_FILE_FIELD, name,
                            "tensor %s: value %zu (byte %llu) is %g; a finite number is expected", name,
                            i, (unsigned long long)(t->at + size * i), (double)x);
    }
    return TQ_OK;
}

static tq_status find(taking *t, const char *format, va_list arguments, size_t rows, size_t columns,
                      tq_raw_tensor *tensor, lm_type *type) {
    if (t->status != TQ_OK) return t->status;
    vsnprintf(t->name, sizeof t->name, format, arguments);
    t->status = tq_safetensors_tensor(t->file.tensors, t->name, tensor);
    if (t->status == TQ_OK) t->status = type_of(&t->file, t->name, tensor, type);
    if (t->status == TQ_OK) t->status = check_shape(&t->file, t->name, tensor, rows, columns);
    return t->status;
}

/* Room for n values; NULL on the first round. All of them lie in the file, or nearly: no overflow. */
static void *claim(taking *t, lm_type type, size_t n) {
    void *place = t->weights == NULL ? NULL : t->weights + t->used;
    t->used += (n * lm_type_size(type) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    t->n_parameters += n;
    return place;
}

static lm_matrix take(taking *t, size_t rows, size_t columns, const char *format, ...) TQ_PRINTF(4, 5);

static lm_matrix take(taking *t, size_t rows, size_t columns, const char *format, ...) {
    lm_matrix m = {.out = rows, .in = columns};
    tq_raw_tensor tensor;
    va_list arguments;
    va_start(arguments, format);
    find(t, format, arguments, rows, columns, &tensor, &m.type);
    va_end(arguments);
    if (t->status != TQ_OK) return m;
    void *place = claim(t, m.type, tensor.n_values);
    if (place != NULL) t->status = fill(&t->file, t->name, &tensor, m.type, place);
    m.values = place;
    return m;
}

static const float *take_vector(taking *t, float offset, size_t n, const char *format, ...)
    TQ_PRINTF(4, 5);

/* A vector plus an offset, as float32. */
static const float *take_vector(taking *t, float offset, size_t n, const char *format, ...) {
    tq_raw_tensor tensor;
    lm_type type;
    va_list arguments;
    va_start(arguments, format);
    find(t, format, arguments, n, 0, &tensor, &type);
    va_end(arguments);
    if (t->status != TQ_OK) return NULL;
    float *place = claim(t, LM_F32, n);
    if (place == NULL) return NULL;
    void *narrow = lm_alloc(n, sizeof(float));
    if (narrow == NULL)
        t->status = lm_file_fail(&t->file, TQ_E_NO_MEMORY, "path", "no memory for the model");
    else
        t->status = fill(&t->file, t->name, &tensor, type, narrow);
    if (t->status == TQ_OK) lm_widen(type, narrow, 0, n, place);
    free(narrow);
    for (size_t i = 0; t->status == TQ_OK && i < n; i++)
        place[i] += offset;
    return place;
}

static void take_layer(taking *t, const lm_model *m, size_t i, lm_layer *layer) {
    const size_t d = m->width, dim = layer->shape.head_dim;
    const size_t q = layer->shape.n_heads * dim, kv = layer->shape.n_kv_heads * dim;
    const float offset = m->norm_offset;
    layer->attention_norm = take_vector(t, offset, d, "layers.%zu.attention_norm.weight", i);
    layer->mlp_norm = take_vector(t, offset, d, "layers.%zu.mlp_norm.weight", i);
    layer->q = take(t, q, d, "layers.%zu.attention.q.weight", i);
    layer->k = take(t, kv, d, "layers.%zu.attention.k.weight", i);
    layer->v = take(t, kv, d, "layers.%zu.attention.v.weight", i);
    layer->o = take(t, d, q, "layers.%zu.attention.o.weight", i);
    if (m->qkv_bias) {
        layer->q_bias = take_vector(t, 0, q, "layers.%zu.attention.q.bias", i);
        layer->k_bias = take_vector(t, 0, kv, "layers.%zu.attention.k.bias", i);
        layer->v_bias = take_vector(t, 0, kv, "layers.%zu.attention.v.bias", i);
    }
    if (m->qk_norm) {
        layer->q_norm = take_vector(t, offset, dim, "layers.%zu.attention.q_norm.weight", i);
        layer->k_norm = take_vector(t, offset, dim, "layers.%zu.attention.k_norm.weight", i);
    }
    if (m->post_norms) {
        layer->attention_post_norm =
            take_vector(t, offset, d, "layers.%zu.attention_post_norm.weight", i);
        layer->mlp_post_norm = take_vector(t, offset, d, "layers.%zu.mlp_post_norm.weight", i);
    }
    layer->gate = take(t, m->hidden, d, "layers.%zu.mlp.gate.weight", i);
    layer->up = take(t, m->hidden, d, "layers.%zu.mlp.up.weight", i);
    layer->down = take(t, d, m->hidden, "layers.%zu.mlp.down.weight", i);
}

static void take_all(taking *t, lm_model *m) {
    t->used = 0;
    t->n_parameters = 0;
    m->embedding = take(t, m->vocab, m->width, "embedding.weight");
    for (size_t i = 0; i < m->n_layers; i++)
        take_layer(t, m, i, &m->layers[i]);
    m->norm = take_vector(t, m->norm_offset, m->width, "norm.weight");
    m->output = m->tied_output ? m->embedding : take(t, m->vocab, m->width, "output.weight");
    m->n_parameters = t->n_parameters;
}

tq_status lm_weights_read(const lm_file *f, lm_model *m) {
    taking t = {.file = *f};
    take_all(&t, m);
    if (t.status != TQ_OK) return t.status;
    t.weights = m->weights = lm_alloc(t.used, 1);
    if (m->weights == NULL) return lm_file_fail(f, TQ_E_NO_MEMORY, "path", "no memory for the model");
    take_all(&t, m);
    return t.status;
}
