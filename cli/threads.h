/* SPDX-License-Identifier: MIT
 * Threads for the library's tasks. */
#ifndef TQKV_CLI_THREADS_H
#define TQKV_CLI_THREADS_H

#include "tqkv/codec.h"

/* Fills in *parallel for so many threads; its run() is NULL where the calling one is all. 0: as many as
 * OpenMP thinks fit, or one where the library was built without it; asking for more than one is then an
 * error. Returns CLI_GO_ON or an exit status. */
int cli_choose_threads(size_t threads, tq_parallel *parallel);

#endif
