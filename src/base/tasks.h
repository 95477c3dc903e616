/* SPDX-License-Identifier: MIT
 * Tasks on a caller's threads, or one after the other on the calling one. */
#ifndef TQ_BASE_TASKS_H
#define TQ_BASE_TASKS_H

#include "base/arch.h"
#include "tqkv/runtime.h"

/* Every call that is lent threads asks this first. TQ_E_NULL. */
static inline tq_status tq_check_parallel(const tq_parallel *parallel) {
    if (parallel == NULL || parallel->run != NULL) return TQ_OK;
    return tq_fail(TQ_E_NULL, 0, "parallel", "parallel->run is NULL: give a function, or no parallel");
}

static inline void tq_run_tasks(const tq_parallel *parallel, size_t n_tasks,
                                void (*task)(void *work, size_t index), void *work) {
    if (parallel != NULL && n_tasks > 1) {
        parallel->run(parallel->context, n_tasks, task, work);
        return;
    }
    for (size_t i = 0; i < n_tasks; i++)
        task(work, i);
}

#endif
