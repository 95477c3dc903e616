/* SPDX-License-Identifier: MIT
 * Queries, keys and values of a model as .npy files: what the other commands take as tensors. */
#include "eval/eval.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/heads.h"
#include "base/message.h"
#include "base/outputs.h"

static int open_file(tq_outputs **outputs, const char *folder, size_t layer, char which,
                     tq_output **file) {
    char name[48];
    snprintf(name, sizeof name, "layer%zu-%c.npy", layer, which);
    return cli_open_output_in(outputs, folder, name, file);
}

static int open_layer(cli_dump_layer *layer, tq_outputs **outputs, const char *folder, size_t i) {
    TRY(open_file(outputs, folder, i, 'q', &layer->q_file));
    TRY(open_file(outputs, folder, i, 'k', &layer->k_file));
    return open_file(outputs, folder, i, 'v', &layer->v_file);
}

static int make_room(cli_dump_layer *layer, size_t n_positions) {
    const lm_layer_shape *shape = &layer->shape;
    layer->q = cli_new_floats(shape->n_heads, n_positions, shape->head_dim);
    layer->k = cli_new_floats(shape->n_kv_heads, n_positions, shape->head_dim);
    layer->v = cli_new_floats(shape->n_kv_heads, n_positions, shape->head_dim);
    return layer->q && layer->k && layer->v ? CLI_DONE : cli_out_of_memory();
}

int cli_dump_begin(cli_dump *dump, tq_outputs **outputs, const char *folder, const lm_model *model,
                   size_t n_positions) {
    const size_t n_layers = lm_model_shape(model).n_layers;
    *dump = (cli_dump){.n_layers = n_layers, .n_positions = n_positions};
    TRY(cli_open_folder(outputs, folder));
    dump->layers = calloc(n_layers, sizeof *dump->layers);
    if (!dump->layers) return cli_out_of_memory();
    for (size_t i = 0; i < n_layers; i++) {
        dump->layers[i].shape = lm_model_layer(model, i);
        TRY(open_layer(&dump->layers[i], outputs, folder, i));
        TRY(make_room(&dump->layers[i], n_positions));
    }
    return CLI_DONE;
}

static void put(float *to, size_t n_positions, size_t t, size_t n_heads, size_t dim, const float *from) {
    for (size_t h = 0; h < n_heads; h++)
        memcpy(to + (h * n_positions + t) * dim, from + h * dim, dim * sizeof *to);
}

void cli_dump_add(cli_dump *dump, size_t layer, size_t t, const float *q, const float *k,
                  const float *v) {
    cli_dump_layer *l = &dump->layers[layer];
    put(l->q, dump->n_positions, t, l->shape.n_heads, l->shape.head_dim, q);
    put(l->k, dump->n_positions, t, l->shape.n_kv_heads, l->shape.head_dim, k);
    put(l->v, dump->n_positions, t, l->shape.n_kv_heads, l->shape.head_dim, v);
}

static int write_tensor(const cli_dump *dump, tq_output *file, size_t n_heads, size_t dim,
                        const float *data) {
    const size_t shape[3] = {n_heads, dump->n_positions, dim};
    return cli_check(NULL, tq_output_npy(file, data, 3, shape));
}

int cli_dump_write(const cli_dump *dump) {
    for (size_t i = 0; i < dump->n_layers; i++) {
        const cli_dump_layer *l = &dump->layers[i];
        const size_t dim = l->shape.head_dim;
        TRY(write_tensor(dump, l->q_file, l->shape.n_heads, dim, l->q));
        TRY(write_tensor(dump, l->k_file, l->shape.n_kv_heads, dim, l->k));
        TRY(write_tensor(dump, l->v_file, l->shape.n_kv_heads, dim, l->v));
    }
    return CLI_DONE;
}

void cli_dump_free(cli_dump *dump) {
    for (size_t i = 0; dump->layers && i < dump->n_layers; i++) {
        free(dump->layers[i].q);
        free(dump->layers[i].k);
        free(dump->layers[i].v);
    }
    free(dump->layers);
    dump->layers = NULL;
}
