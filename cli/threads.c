/* SPDX-License-Identifier: MIT
 * Threads for the library's tasks. */
#include "threads.h"

#include "message.h"

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

int cli_take_threads(const cli_option *option, size_t usual, tq_parallel *parallel) {
    size_t threads = usual;
    const int rc = option->given ? cli_parse_count(option, &threads) : CLI_GO_ON;
    if (rc != CLI_GO_ON) {
        return rc;
    }
    if (option->given && (threads == 0 || threads > CLI_MAX_THREADS)) {
        return cli_misuse("--%s: %zu is not from 1 to %d", option->name, threads, CLI_MAX_THREADS);
    }
    return cli_choose_threads(threads, parallel);
}
