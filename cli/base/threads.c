/* SPDX-License-Identifier: MIT
 * Threads for the library's tasks. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity() */
#endif
#include "base/threads.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "base/message.h"

/* Processors that this process may use. */
static size_t processors(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
#ifdef CPU_COUNT
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
#endif
    return n < 1 ? 1 : n > CLI_MAX_THREADS ? CLI_MAX_THREADS : (size_t)n;
}

void cli_run_tasks(const tq_parallel *parallel, size_t n_tasks, void (*task)(void *work, size_t index),
                   void *work) {
    if (parallel->run) {
        parallel->run(parallel->context, n_tasks, task, work);
        return;
    }
    for (size_t i = 0; i < n_tasks; i++)
        task(work, i);
}

int cli_choose_threads(size_t threads, tq_parallel *parallel) {
    *parallel = (tq_parallel){0};
    if (threads == 0) threads = processors();
    if (threads == 1) return CLI_DONE;
    const int error = cli_pool_start(threads, parallel);
    return error == 0 ? CLI_DONE : cli_fail("%zu threads do not start: %s", threads, strerror(error));
}

int cli_take_threads(const cli_option *option, size_t usual, tq_parallel *parallel) {
    TRY(cli_take_count(option, 1, CLI_MAX_THREADS, &usual));
    return cli_choose_threads(usual, parallel);
}
