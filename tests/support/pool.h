/* SPDX-License-Identifier: MIT
 * A caller's threads, as a tq_parallel wants them. */
#ifndef TESTS_SUPPORT_POOL_H
#define TESTS_SUPPORT_POOL_H

#include <stdatomic.h>
#include <stddef.h>

enum { POOL_MOST_THREADS = 7 };

/* Threads that take the next task until none is left; the last task first, as order must not matter. */
typedef struct pool {
    size_t threads;    /* set by the test */
    size_t tasks_seen; /* of all calls */
    atomic_size_t next;
    size_t n_tasks;
    void (*task)(void *work, size_t index);
    void *work;
} pool;

/* For tq_parallel.run, with a pool as its context. */
void pool_run(void *context, size_t n_tasks, void (*task)(void *work, size_t index), void *work);

#endif
