/* SPDX-License-Identifier: MIT
 * What no code on this machine can beat: streams of stores and copies, as fast as we know how to. */
#ifndef TQKV_CLI_LIMITS_H
#define TQKV_CLI_LIMITS_H

#include <stdbool.h>
#include <stddef.h>

#include "tqkv/codec.h"

typedef enum cli_limit { CLI_LIMIT_STORE, CLI_LIMIT_STREAM, CLI_LIMIT_MEMCPY, CLI_N_LIMITS } cli_limit;

/* "store", "stream" or "memcpy". */
const char *cli_limit_name(cli_limit limit);

/* Whether this machine has stores that bypass the caches. */
bool cli_can_stream(void);

/* Runs the limit over `rows` vectors of `dim` floats: dst is written, src read by CLI_LIMIT_MEMCPY alone.
 * dst is aligned to 64 bytes, dim a multiple of 16. parallel: each of `threads` threads has a part of its
 * own; NULL: the calling thread alone. */
void cli_run_limit(cli_limit limit, const tq_parallel *parallel, size_t threads, const float *src,
                   float *dst, size_t rows, size_t dim);

#endif
