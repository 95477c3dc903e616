/* SPDX-License-Identifier: MIT
 * An evaluation as an HTML page. */
#ifndef TQKV_CLI_EVAL_REPORT_H
#define TQKV_CLI_EVAL_REPORT_H

#include "eval.h"

/* Makes the folder if need be and writes index.html into it: whole, or not at all. CLI_DONE, or
 * CLI_FAILED after a message. */
int cli_eval_write_report(const cli_eval *eval, const char *folder);

#endif
