/* SPDX-License-Identifier: MIT
 * Threads for the library's tasks. */
#include "threads.h"

#include "message.h"
#include "options.h"

int cli_choose_threads(size_t threads, tq_parallel *parallel) {
    *parallel = (tq_parallel){0};
    if (threads == 1) {
        return CLI_GO_ON;
    }
    const tq_status status = tq_parallel_openmp(parallel, (unsigned)threads);
    if (status == TQ_E_UNSUPPORTED && threads == 0) {
        return CLI_GO_ON; /* nobody asked for threads */
    }
    return status == TQ_OK ? CLI_GO_ON : cli_fail_status(NULL, status);
}
