/* SPDX-License-Identifier: MIT
 * The file of a model as small as one may be, to damage. */
#include "tiny.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/cm.h"
#include "support/guard.h"
#include "support/rng.h"

enum { WIDTH = 32, HIDDEN = 48, HEADER_ROOM = 8192, DATA_ROOM = 1 << 17 };

static const char metadata[] =
    "{\"__metadata__\":{\"tqkv.model.version\":\"1\",\"tqkv.model.name\":\"tiny\","
    "\"tqkv.model.vocab\":\"256\",\"tqkv.model.d\":\"32\",\"tqkv.model.d_ff\":\"48\","
    "\"tqkv.model.n_layers\":\"2\",\"tqkv.model.n_heads\":\"2,4\",\"tqkv.model.n_kv_heads\":\"1,2\","
    "\"tqkv.model.head_dim\":\"32,48\",\"tqkv.model.window\":\"8,0\","
    "\"tqkv.model.rope_base\":\"10000,1e5\",\"tqkv.model.attention_scale\":\"0.17677669,0.14433757\","
    "\"tqkv.model.softcap\":\"0\",\"tqkv.model.norm_eps\":\"1e-06\",\"tqkv.model.qk_norm\":\"1\","
    "\"tqkv.model.qkv_bias\":\"1\",\"tqkv.model.activation\":\"silu\","
    "\"tqkv.model.rope_pairing\":\"halves\"}";

typedef struct builder {
    char header[HEADER_ROOM];
    size_t n_header;
    uint8_t data[DATA_ROOM];
    size_t n_data;
    rng random;
} builder;

/* The upper half of a float32 is a bfloat16. Norm weights are about 1, others about 0.1. */
static void add(builder *b, const char *name, size_t rows, size_t columns) {
    const size_t n = rows * (columns == 0 ? 1 : columns);
    const double middle = strstr(name, "norm") != NULL ? 1 : 0;
    char shape[48];
    if (columns == 0)
        snprintf(shape, sizeof shape, "%zu", rows);
    else
        snprintf(shape, sizeof shape, "%zu,%zu", rows, columns);
    b->n_header +=
        (size_t)snprintf(b->header + b->n_header, HEADER_ROOM - b->n_header,
                         ",\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", name,
                         shape, b->n_data, b->n_data + 2 * n);
    assert_true(b->n_header < HEADER_ROOM - 8 && b->n_data + 2 * n <= DATA_ROOM);
    for (size_t i = 0; i < n; i++, b->n_data += 2) {
        const float x = (float)(middle + 0.1 * rng_gauss(&b->random));
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        b->data[b->n_data] = (uint8_t)(bits >> 16);
        b->data[b->n_data + 1] = (uint8_t)(bits >> 24);
    }
}

static void add_layer(builder *b, size_t index, size_t heads, size_t kv_heads, size_t dim) {
    const size_t q = heads * dim, kv = kv_heads * dim;
    const struct {
        const char *name;
        size_t rows, columns;
    } tensors[] = {{"attention_norm.weight", WIDTH, 0}, {"attention.q.weight", q, WIDTH},
                   {"attention.k.weight", kv, WIDTH},   {"attention.v.weight", kv, WIDTH},
                   {"attention.q.bias", q, 0},          {"attention.k.bias", kv, 0},
                   {"attention.v.bias", kv, 0},         {"attention.q_norm.weight", dim, 0},
                   {"attention.k_norm.weight", dim, 0}, {"attention.o.weight", WIDTH, q},
                   {"mlp_norm.weight", WIDTH, 0},       {"mlp.gate.weight", HIDDEN, WIDTH},
                   {"mlp.up.weight", HIDDEN, WIDTH},    {"mlp.down.weight", WIDTH, HIDDEN}};
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "layers.%zu.%s", index, tensors[i].name);
        add(b, name, tensors[i].rows, tensors[i].columns);
    }
}

static image assemble(const char *header, size_t n_header, const uint8_t *data, size_t n_data) {
    image im = {.size = 8 + n_header + n_data, .data = 8 + n_header};
    im.bytes = test_alloc(im.size);
    for (size_t i = 0; i < 8; i++)
        im.bytes[i] = (uint8_t)((uint64_t)n_header >> 8 * i);
    memcpy(im.bytes + 8, header, n_header);
    memcpy(im.bytes + im.data, data, n_data);
    return im;
}

image tiny_model(void) {
    builder *b = test_alloc(sizeof *b);
    *b = (builder){.n_header = sizeof metadata - 1, .random = {3}};
    memcpy(b->header, metadata, sizeof metadata);
    add(b, "embedding.weight", 256, WIDTH);
    add_layer(b, 0, 2, 1, 32);
    add_layer(b, 1, 4, 2, 48);
    add(b, "norm.weight", WIDTH, 0);
    add(b, "output.weight", 256, WIDTH);
    b->header[b->n_header++] = '}';
    image im = assemble(b->header, b->n_header, b->data, b->n_data);
    free(b);
    return im;
}

image edited(const image *im, const char *old, const char *new) {
    const size_t n = im->data - 8, n_old = strlen(old), n_new = strlen(new);
    char *header = test_alloc(n + n_new + 1);
    memcpy(header, im->bytes + 8, n);
    header[n] = '\0';
    char *at = strstr(header, old);
    if (at == NULL) fail_msg("'%s' is not in the header", old);
    memmove(at + n_new, at + n_old, n - (size_t)(at - header) - n_old);
    memcpy(at, new, n_new);
    image out = assemble(header, n + n_new - n_old, im->bytes + im->data, im->size - im->data);
    free(header);
    return out;
}
