/* SPDX-License-Identifier: MIT
 * Threads for the library's tasks. */
#ifndef TQKV_CLI_THREADS_H
#define TQKV_CLI_THREADS_H

#include "base/command.h"
#include "tqkv/codec.h"

/* Starts threads beside the calling one, so that there are `threads` of them, 2 or more. They sleep while
 * there is nothing to do, and end with the process. Returns 0, or an error number. */
int cli_pool_start(size_t threads, tq_parallel *parallel);

enum { CLI_MAX_THREADS = TQ_MAX_THREADS };

/* Runs tasks on these threads, or on the calling one where run() is NULL. */
void cli_run_tasks(const tq_parallel *parallel, size_t n_tasks, void (*task)(void *work, size_t index),
                   void *work);

/* Fills in *parallel for so many threads of the command's own (as above); its run() is NULL where the
 * calling one is all. 0: as many as there are processors. Returns CLI_DONE or an exit status. */
int cli_choose_threads(size_t threads, tq_parallel *parallel);

/* The same for what an option says, 1 to CLI_MAX_THREADS, or for `usual` where it is not given. */
int cli_take_threads(const cli_option *option, size_t usual, tq_parallel *parallel);

#endif
