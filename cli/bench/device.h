/* SPDX-License-Identifier: MIT
 * Benchmarks of a device: its codec and its attention, checked against the CPU, timed beside copies
 * within its memory. */
#ifndef TQKV_CLI_BENCH_DEVICE_H
#define TQKV_CLI_BENCH_DEVICE_H

#include "base/cache.h"
#include "base/device.h"
#include "bench/bench.h"

enum { CLI_DEVICE_SAMPLES = 31 };

/* What was asked for; 0 or NULL where the choice is left to the list. */
typedef struct cli_device_filter {
    cli_device *device;
    bool exact;
    const cli_bench_op *op;
    const tq_format *k, *v;
    size_t heads, kv_heads, dim, positions, queries, samples;
    tq_domain domain; /* of decode */
    bool as_json;
} cli_device_filter;

/* Positions [G][T][D]; attend: H heads, the last n positions ask. */
typedef struct cli_device_case {
    cli_bench_op op;
    cli_way way; /* of encode and decode: its keys' format */
    uint32_t heads, kv_heads, dim;
    size_t positions, queries;
    tq_domain domain;
    bool exact;
} cli_device_case;

typedef struct cli_device_result {
    cli_device_timing timing;
    double bytes;     /* that the work reads and stores, each once */
    double f16_bytes; /* attend: of float16 keys and values; else 0 */
    double error;     /* attend: the largest of a row, in units of its absolute terms; else 0 */
} cli_device_result;

/* Makes the row's data, works on the device, checks and times it. CLI_DONE, or CLI_FAILED after a
 * message. */
int cli_device_codec_run(cli_device *device, const cli_device_case *c, cli_device_result *result);
int cli_device_attend_run(cli_device *device, const cli_device_case *c, cli_device_result *result);

/* Runs and prints all rows. CLI_DONE, or CLI_FAILED or CLI_MISUSE after a message. */
int cli_bench_device(const cli_device_filter *filter);

#endif
