/* SPDX-License-Identifier: MIT
 * An evaluation as an HTML page. */
#ifndef TQKV_CLI_EVAL_REPORT_H
#define TQKV_CLI_EVAL_REPORT_H

#include "eval/eval.h"
#include "tqkv/io.h"

/* CLI_DONE, or CLI_FAILED after a message. */
int cli_eval_write_report(const cli_eval *eval, tq_output *output);

#endif
