/* SPDX-License-Identifier: MIT
 * The command's threads. */
#ifndef TQKV_CLI_POOL_H
#define TQKV_CLI_POOL_H

#include "tqkv/codec.h"

/* Starts threads beside the calling one, so that there are `threads` of them, 2 or more. They sleep while
 * there is nothing to do, and end with the process. Returns 0, or an error number. */
int cli_pool_start(size_t threads, tq_parallel *parallel);

#endif
