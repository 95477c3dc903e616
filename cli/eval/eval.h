/* SPDX-License-Identifier: MIT
 * Evaluation of cache formats on a language model: what is asked, and what comes out. */
#ifndef TQKV_CLI_EVAL_H
#define TQKV_CLI_EVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/kv_name.h"
#include "lm/lm.h"

enum {
    CLI_EVAL_MAX_ROWS = 64,
    CLI_EVAL_MEMORY_POINTS = 64 /* contexts at which the bytes of a cache are noted */
};

/* A way to keep keys and values, and its figures. "Reference": a sequence with a float32 cache. */
typedef struct cli_eval_row {
    char name[CLI_KV_NAME_SIZE];
    lm_kv kv;

    double bits;      /* sum of -log2 of the probability of the byte that came */
    double *kl;       /* [tokens] divergence from the reference's next-byte distribution, nats */
    size_t same_top;  /* tokens at which the likeliest byte is the reference's */
    float *angles;    /* [tokens][outputs] 1 less the cosine of an attention output with its reference */
    double *error;    /* [layers] sum of squared differences of attention outputs */
    double *size;     /* [layers] sum of their references' squares */
    uint64_t bytes;   /* of the cache at the end of the first context */
    uint64_t values;  /* that they hold */
    uint64_t *memory; /* [n_memory] bytes at contexts memory_at[] */
    double token_seconds; /* median time of a token of this row alone */

    /* From all of these, once they are there. */
    double kl_mean, kl_median, kl_p99;
    double cosine_mean, cosine_p1;
} cli_eval_row;

typedef struct cli_eval {
    const char *model_path, *text_path;
    lm_model *model;
    lm_shape shape;
    size_t n_outputs; /* attention outputs of a token: query heads of all layers */

    size_t tokens;       /* evaluated */
    size_t context;      /* caches start empty again after so many */
    size_t threads;      /* 0: as many as there are processors */
    const uint8_t *text; /* [tokens + 1] */

    cli_eval_row *rows; /* [n_rows]; the first is float32, the control */
    size_t n_rows;
    double reference_bits;
    size_t memory_at[CLI_EVAL_MEMORY_POINTS];
    size_t n_memory;
    double seconds; /* that it all took, timing of single rows apart */
} cli_eval;

/* Bits a byte of the text, and how the row's perplexity differs from the reference's, as a share. */
double cli_eval_bits_per_byte(const cli_eval *eval, const cli_eval_row *row);
double cli_eval_change(const cli_eval *eval, const cli_eval_row *row);
double cli_eval_perplexity_change(const cli_eval *eval, const cli_eval_row *row);
double cli_eval_same_top(const cli_eval *eval, const cli_eval_row *row);

/* Norms, centre and padding counted. */
double cli_eval_bits_per_value(const cli_eval_row *row);

/* Relative squared error of a layer's attention outputs. */
double cli_eval_layer_error(const cli_eval_row *row, size_t layer);

/* The row of that name, or NULL. */
const cli_eval_row *cli_eval_find(const cli_eval *eval, const char *name);

#endif
