/* SPDX-License-Identifier: MIT
 * Benchmarks of the codec: which rows there are, what one is, and how they are printed. */
#ifndef TQKV_CLI_BENCH_H
#define TQKV_CLI_BENCH_H

#include "base/report.h"
#include "measure/data.h"
#include "measure/limits.h"
#include "tqkv/cpu.h"

typedef enum cli_bench_op {
    CLI_BENCH_ENCODE,
    CLI_BENCH_DECODE,
    CLI_BENCH_ROTATE,
    CLI_BENCH_REQUANTIZE,
    CLI_BENCH_ATTEND, /* has cases of its own: bench/attend.h */
    CLI_N_BENCH_OPS
} cli_bench_op;

/* "encode", "decode", "rotate", "requantize", "attend". */
extern const char *const cli_bench_op_names[CLI_N_BENCH_OPS];

typedef struct cli_bench_case {
    cli_bench_op op;
    tq_codec codec;
    measure_set set;
    tq_domain domain;            /* decode: what comes out */
    const tq_parallel *parallel; /* NULL: one thread */
    size_t threads;
} cli_bench_case;

typedef struct cli_bench_result {
    measure_limit limit;
    double ns_per_row;
    double gb_per_s; /* of float32 on the dense side */
    double limit_gb_per_s;
    double share;  /* median over samples of the limit's time over ours */
    double spread; /* of those ratios: half the interquartile range over the median */
} cli_bench_result;

/* Runs a slice at the level and compares vectors at both its ends with the scalar level's. Leaves the
 * level chosen. CLI_DONE or CLI_FAILED after a message. */
int cli_bench_check(const cli_bench_case *c, measure_data *data, tq_isa isa);

/* Times it. CLI_DONE or CLI_FAILED after a message. */
int cli_bench_run(const cli_bench_case *c, measure_data *data, size_t samples, cli_bench_result *result);

/* What was asked for; NULL or 0 where the choice is left to the list. */
typedef struct cli_bench_filter {
    const cli_bench_op *op;
    const tq_format *format;
    const measure_set *set;
    uint32_t dim;
    tq_domain domain;
    size_t threads;
    const tq_parallel *parallel; /* NULL: one thread; then rows of encode and decode alone */
} cli_bench_filter;

/* Writes the rows into cases, if it is not NULL, and returns how many there are. Formats that do not
 * serve a dimension are left out. */
size_t cli_bench_list(const cli_bench_filter *filter, cli_bench_case *cases);

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
