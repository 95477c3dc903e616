/* SPDX-License-Identifier: MIT
 * One row of a benchmark: an operation on a format, checked, then timed beside the machine's limit. */
#ifndef TQKV_CLI_BENCH_CASE_H
#define TQKV_CLI_BENCH_CASE_H

#include "measure/data.h"
#include "measure/limits.h"
#include "tqkv/cpu.h"

typedef enum cli_bench_op {
    CLI_BENCH_ENCODE,
    CLI_BENCH_DECODE,
    CLI_BENCH_ROTATE,
    CLI_BENCH_REQUANTIZE,
    CLI_BENCH_ATTEND, /* has cases of its own: bench_attend.h */
    CLI_N_BENCH_OPS
} cli_bench_op;

/* "encode", "decode", "rotate", "requantize" or "attend". */
const char *cli_bench_op_name(cli_bench_op op);

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

#endif
