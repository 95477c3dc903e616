/* SPDX-License-Identifier: MIT
 * Queries, keys and values of a model as .npy files: what the other commands take as tensors. */
#include "eval_dump.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "folder.h"
#include "heads.h"
#include "message.h"
#include "tqkv/io.h"

int cli_dump_begin(cli_dump *dump, const char *folder, const lm_model *model, size_t n_positions) {
    const size_t n_layers = lm_model_shape(model).n_layers;
    *dump = (cli_dump){.folder = folder, .n_layers = n_layers, .n_positions = n_positions};
    const int rc = cli_make_folder(folder);
    if (rc != CLI_DONE) {
        return rc;
    }
    dump->layers = calloc(n_layers, sizeof *dump->layers);
    if (!dump->layers) {
        return cli_out_of_memory();
    }
    for (size_t i = 0; i < n_layers; i++) {
        cli_dump_layer *layer = &dump->layers[i];
        layer->shape = lm_model_layer(model, i);
        layer->q = cli_new_floats(layer->shape.n_heads, n_positions, layer->shape.head_dim);
        layer->k = cli_new_floats(layer->shape.n_kv_heads, n_positions, layer->shape.head_dim);
        layer->v = cli_new_floats(layer->shape.n_kv_heads, n_positions, layer->shape.head_dim);
        if (!layer->q || !layer->k || !layer->v) {
            return cli_out_of_memory();
        }
    }
    return CLI_DONE;
}

static void put(float *to, size_t n_positions, size_t t, size_t n_heads, size_t dim, const float *from) {
    for (size_t h = 0; h < n_heads; h++) {
        memcpy(to + (h * n_positions + t) * dim, from + h * dim, dim * sizeof *to);
    }
}

void cli_dump_add(cli_dump *dump, size_t layer, size_t t, const float *q, const float *k,
                  const float *v) {
    cli_dump_layer *l = &dump->layers[layer];
    put(l->q, dump->n_positions, t, l->shape.n_heads, l->shape.head_dim, q);
    put(l->k, dump->n_positions, t, l->shape.n_kv_heads, l->shape.head_dim, k);
    put(l->v, dump->n_positions, t, l->shape.n_kv_heads, l->shape.head_dim, v);
}

static int write_tensor(const cli_dump *dump, size_t layer, char which, size_t n_heads,
                        const float *data) {
    const size_t shape[3] = {n_heads, dump->n_positions, dump->layers[layer].shape.head_dim};
    char name[48];
    snprintf(name, sizeof name, "layer%zu-%c.npy", layer, which);
    char *path = cli_join_path(dump->folder, name);
    if (!path) {
        return cli_out_of_memory();
    }
    const tq_status status = tq_npy_write(path, data, 3, shape);
    free(path);
    return status == TQ_OK ? CLI_DONE : cli_fail_status(NULL, status);
}

int cli_dump_write(const cli_dump *dump) {
    int rc = CLI_DONE;
    for (size_t i = 0; rc == CLI_DONE && i < dump->n_layers; i++) {
        const cli_dump_layer *layer = &dump->layers[i];
        rc = write_tensor(dump, i, 'q', layer->shape.n_heads, layer->q);
        if (rc == CLI_DONE) {
            rc = write_tensor(dump, i, 'k', layer->shape.n_kv_heads, layer->k);
        }
        if (rc == CLI_DONE) {
            rc = write_tensor(dump, i, 'v', layer->shape.n_kv_heads, layer->v);
        }
    }
    return rc;
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
