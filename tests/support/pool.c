/* SPDX-License-Identifier: MIT
 * Threads of a test. */
#include "support/pool.h"

#include <pthread.h>

#include "support/cm.h"

static void *worker(void *context) {
    pool *p = context;
    for (size_t i = atomic_fetch_add(&p->next, 1); i < p->n_tasks; i = atomic_fetch_add(&p->next, 1))
        p->task(p->work, p->n_tasks - 1 - i);
    return NULL;
}

void pool_run(void *context, size_t n_tasks, void (*task)(void *work, size_t index), void *work) {
    pool *p = context;
    pthread_t thread[POOL_MOST_THREADS];
    p->n_tasks = n_tasks;
    p->tasks_seen += n_tasks;
    p->task = task;
    p->work = work;
    atomic_store(&p->next, 0);
    for (size_t i = 0; i < p->threads; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, worker, p), 0);
    for (size_t i = 0; i < p->threads; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
}
