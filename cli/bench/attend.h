/* SPDX-License-Identifier: MIT
 * Benchmarks of attention: which rows there are, what one of them is, and what it works on. */
#ifndef TQKV_CLI_BENCH_ATTEND_H
#define TQKV_CLI_BENCH_ATTEND_H

#include <stdbool.h>

#include "tqkv/attention.h"
#include "tqkv/cpu.h"

/* The last n_queries of the positions ask, and each sees those up to its own. */
typedef struct cli_attend_case {
    tq_format k, v;
    uint32_t heads, kv_heads, dim;
    size_t positions, queries;
    size_t page_rows; /* positions of a page, of which they lie in random order; 0: no pages */
    tq_arithmetic arithmetic;
    size_t threads;
    const tq_parallel *parallel; /* NULL: one thread */
} cli_attend_case;

/* What was asked for; 0 or NULL where the choice is left to the list. */
typedef struct cli_attend_filter {
    const tq_format *k, *v;
    size_t heads, kv_heads, dim, positions, queries, page_rows;
    tq_arithmetic arithmetic;
    size_t samples;
    tq_isa isa;
    size_t threads;
    const tq_parallel *parallel;
} cli_attend_filter;

/* Medians over the samples; the limits were timed in turn with ours, on as many threads. */
typedef struct cli_attend_result {
    double seconds;
    double read_s;   /* what reading f16_bytes takes */
    double fma_rate; /* operations a second */
    double share;    /* read_s / seconds */
    double spread;   /* of a sample's share: half the interquartile range over the median */
    double error;    /* the largest of a row, in units of the norm of its absolute terms */
    size_t kv_bytes, f16_bytes;
    double flops;
    size_t samples;
} cli_attend_result;

/* Keys and values as float16 would have. */
uint64_t cli_attend_f16_bytes(const cli_attend_case *c);

/* 4 D for every pair of a query and a position that it sees: a product and a sum each for the score and
 * for the value. */
double cli_attend_flops(const cli_attend_case *c);

/* Makes the row's cache, checks a call's result, times it. CLI_DONE or CLI_FAILED after a message. */
int cli_attend_run(const cli_attend_case *c, size_t samples, cli_attend_result *result);

/* Runs and prints all rows. CLI_DONE, or CLI_FAILED or CLI_MISUSE after a message. */
int cli_bench_attend(const cli_attend_filter *filter, bool as_json);

/* Keys or values, [G][T] vectors each; and where there are pages, the pool of them that is attended to.
 */
typedef struct cli_attend_side {
    tq_codec codec;
    size_t code_bytes, norm_bytes; /* of a vector */
    uint8_t *codes, *norms;
    uint8_t *pool_codes, *pool_norms; /* [pages][G][page_rows] */
} cli_attend_side;

typedef struct cli_attend_data {
    tq_attention_params params;
    tq_segment segment;
    cli_attend_side k, v;
    float *q, *out; /* [H][n][D] */
    void *workspace;
    size_t workspace_bytes;
    int32_t *pages; /* NULL: there are none */
    void *f16;      /* as many bytes as float16 keys and values have; what is in them does not matter */
    size_t f16_bytes;
} cli_attend_data;

/* Encodes normally distributed keys and values, no two alike, and readies the call. CLI_DONE or
 * CLI_FAILED after a message; cli_attend_data_free() in both cases. */
int cli_attend_data_begin(cli_attend_data *data, const cli_attend_case *c);
void cli_attend_data_free(cli_attend_data *data);

/* The call that is timed. */
tq_status cli_attend_call(cli_attend_data *data);

/* Compares what the call wrote with attention in float64 on the decoded cache: all heads, of each the
 * first and the last query. CLI_DONE, or CLI_FAILED after a message, also when the library's bound does
 * not hold. */
int cli_attend_check(const cli_attend_data *data, double *error);

#endif
