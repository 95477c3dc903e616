/* SPDX-License-Identifier: MIT
 * The pictures of an evaluation's report. */
#ifndef TQKV_CLI_EVAL_PLOTS_H
#define TQKV_CLI_EVAL_PLOTS_H

#include <stdio.h>

#include "eval/eval.h"

/* The style sheet's class for a row: which family of formats it belongs to. */
const char *cli_eval_colour(const cli_eval_row *row);

/* Whether there is anything to draw: a row that differs from float32. */
bool cli_eval_has_divergence(const cli_eval *eval);

/* Mean KL against bits per value, formats without options. */
void cli_eval_plot_sizes(const cli_eval *eval, FILE *out);

/* Mean and 99th percentile of the KL, every row, the largest on top. */
void cli_eval_plot_ranking(const cli_eval *eval, FILE *out);

/* Relative squared error of attention outputs against the layer. */
void cli_eval_plot_layers(const cli_eval *eval, FILE *out);

/* Bytes of the cache against the context. */
void cli_eval_plot_memory(const cli_eval *eval, FILE *out);

#endif
