/* SPDX-License-Identifier: MIT
 * Queries, keys and values of a model as .npy files: what the other commands take as tensors. */
#ifndef TQKV_CLI_EVAL_DUMP_H
#define TQKV_CLI_EVAL_DUMP_H

#include "eval/eval.h"
#include "tqkv/io.h"

/* A layer's tensors as they fill: q [H][T][D], k and v [G][T][D]. */
typedef struct cli_dump_layer {
    lm_layer_shape shape;
    float *q, *k, *v;
    tq_output *q_file, *k_file, *v_file; /* layerN-q.npy, layerN-k.npy, layerN-v.npy */
} cli_dump_layer;

typedef struct cli_dump {
    size_t n_layers, n_positions; /* T: the first context's */
    cli_dump_layer *layers;
} cli_dump;

/* Opens the files in the folder, which it makes if need be, and makes room for n_positions. CLI_DONE, or
 * the exit status after a message; release with cli_dump_free() in every case. */
int cli_dump_begin(cli_dump *dump, tq_outputs **outputs, const char *folder, const lm_model *model,
                   size_t n_positions);

/* Position t of a layer: q [H][D], k and v [G][D]. */
void cli_dump_add(cli_dump *dump, size_t layer, size_t t, const float *q, const float *k, const float *v);

int cli_dump_write(const cli_dump *dump);

void cli_dump_free(cli_dump *dump);

#endif
