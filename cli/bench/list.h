/* SPDX-License-Identifier: MIT
 * Which rows a benchmark has. */
#ifndef TQKV_CLI_BENCH_LIST_H
#define TQKV_CLI_BENCH_LIST_H

#include "bench/case.h"

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

#endif
