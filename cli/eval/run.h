/* SPDX-License-Identifier: MIT
 * Runs an evaluation: the same tokens through the model once for every way to keep keys and values. */
#ifndef TQKV_CLI_EVAL_RUN_H
#define TQKV_CLI_EVAL_RUN_H

#include "eval/dump.h"
#include "eval/eval.h"

/* Fills in the figures of all rows. dump: takes what the reference's first context sees; NULL: not
 * wanted. CLI_DONE, or CLI_FAILED after a message. Release with cli_eval_free_rows() in every case. */
int cli_eval_run(cli_eval *eval, cli_dump *dump);

void cli_eval_free_rows(cli_eval *eval);

#endif
