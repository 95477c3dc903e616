/* SPDX-License-Identifier: MIT
 * Figures of an evaluation: divergences of next-byte distributions, angles of attention outputs. */
#ifndef TQKV_CLI_EVAL_FIGURES_H
#define TQKV_CLI_EVAL_FIGURES_H

#include "eval/eval.h"

/* A next-byte distribution: the softmax of logits, in double precision. */
typedef struct cli_distribution {
    double *log_p; /* [n] natural logarithms */
    size_t n, top; /* the likeliest, the lowest of equals */
} cli_distribution;

/* Fills in a distribution whose log_p has room for n. */
void cli_softmax(const float *logits, cli_distribution *d);

/* sum of p (log p - log q), nats. Exactly 0 for equal logits. */
double cli_kl(const cli_distribution *p, const cli_distribution *q);

/* -log2 of the probability of the byte that came. */
double cli_surprise(const cli_distribution *d, uint8_t next);

/* Adds what token t of the row looks like beside the reference: the byte that came was `next`. */
void cli_eval_add_token(cli_eval_row *row, size_t t, const cli_distribution *reference,
                        const cli_distribution *d, uint8_t next);

/* Adds a layer's attention outputs of token t, [n_heads][head_dim]; `first` of a token's n_outputs is the
 * first head of this layer. */
void cli_eval_add_outputs(cli_eval_row *row, size_t layer, size_t t, size_t n_outputs, size_t first,
                          size_t n_heads, size_t head_dim, const float *reference, const float *out);

/* Means and percentiles (nearest rank) of the row. Sorts kl and angles. */
void cli_eval_summarise(cli_eval *eval, cli_eval_row *row);

#endif
