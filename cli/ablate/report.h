/* SPDX-License-Identifier: MIT
 * An ablation as it is printed: tables and a verdict, or one JSON object. */
#ifndef TQKV_CLI_ABLATE_REPORT_H
#define TQKV_CLI_ABLATE_REPORT_H

#include "ablate/ablate.h"

/* CLI_DONE, or CLI_FAILED after a message. */
int cli_ablate_report(const cli_ablate_input *input, const cli_ablation *result, bool as_json);

/* Prints text in lines of at most 80 columns, broken at blanks. */
void cli_print_wrapped(const char *text);

#endif
