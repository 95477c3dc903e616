/* SPDX-License-Identifier: MIT
 * An evaluation on standard output: tables for people, one JSON object for programs. */
#ifndef TQKV_CLI_EVAL_TABLE_H
#define TQKV_CLI_EVAL_TABLE_H

#include "eval/eval.h"

/* A tq format beside a block baseline of as many bits a code. The baseline spends more on scales; moved
 * is its KL as it would be with our bits, at 6.02 dB a bit. */
typedef struct cli_eval_pair {
    const cli_eval_row *ours, *baseline;
    double moved;
} cli_eval_pair;

enum { CLI_EVAL_MAX_PAIRS = 6 };

/* The pairs whose rows are both there; returns how many. */
size_t cli_eval_pairs(const cli_eval *eval, cli_eval_pair pairs[CLI_EVAL_MAX_PAIRS]);

/* CLI_DONE, or CLI_FAILED after a message. */
int cli_eval_print_tables(const cli_eval *eval);
int cli_eval_print_json(const cli_eval *eval);

#endif
