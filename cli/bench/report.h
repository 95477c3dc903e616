/* SPDX-License-Identifier: MIT
 * Rows of a benchmark as they are printed: a JSON object a line, or a table and its reading. */
#ifndef TQKV_CLI_BENCH_REPORT_H
#define TQKV_CLI_BENCH_REPORT_H

#include "base/report.h"
#include "bench/case.h"

typedef struct cli_bench_report {
    bool as_json;
    tq_isa isa;
    size_t samples;
    cli_grid grid;
    /* The least and the greatest share of each operation and set, for the reading. */
    struct {
        double least, greatest;
        size_t n;
    } shares[CLI_N_BENCH_OPS][2];
} cli_bench_report;

void cli_bench_report_begin(cli_bench_report *report, bool as_json, tq_isa isa, size_t samples);

/* CLI_DONE, or CLI_FAILED after a message. A JSON line is out when this returns. */
int cli_bench_report_row(cli_bench_report *report, const cli_bench_case *c,
                         const cli_bench_result *result);

/* Prints what is left to print and frees. threads is for the heading. */
int cli_bench_report_end(cli_bench_report *report, size_t threads);

/* Frees, after another failure. */
void cli_bench_report_drop(cli_bench_report *report);

#endif
