/* SPDX-License-Identifier: MIT
 * What a benchmark of attention works on: an encoded cache, queries, and float16's share of memory. */
#ifndef TQKV_CLI_BENCH_ATTEND_DATA_H
#define TQKV_CLI_BENCH_ATTEND_DATA_H

#include "bench/attend.h"
#include "tqkv/attention.h"

/* Keys or values, [G][T] vectors each. */
typedef struct cli_attend_side {
    tq_codec codec;
    size_t code_bytes, norms; /* of a vector */
    uint8_t *codes;
    float *values; /* norms of the codes */
} cli_attend_side;

typedef struct cli_attend_data {
    tq_attention_params params;
    tq_segment segment;
    cli_attend_side k, v;
    float *q, *out; /* [H][n][D] */
    void *workspace;
    size_t workspace_bytes;
    void *f16; /* as many bytes as float16 keys and values have; what is in them does not matter */
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
