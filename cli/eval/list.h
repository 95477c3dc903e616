/* SPDX-License-Identifier: MIT
 * Which rows an evaluation has: a list of names and groups made into ways to keep keys and values. */
#ifndef TQKV_CLI_EVAL_LIST_H
#define TQKV_CLI_EVAL_LIST_H

#include "eval/eval.h"

/* Appends the rows of a comma list of names and of the groups 'main' and 'all' to eval->rows, float32
 * first in any case. Names that are there already are passed over. A name that the model cannot serve is
 * wrong use; one that came with a group is left out, and a note says why.
 * CLI_DONE, or the exit status after a message. */
int cli_eval_add_rows(cli_eval *eval, const char *list);

#endif
