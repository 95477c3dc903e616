/* SPDX-License-Identifier: MIT
 * Independent tasks on a caller's threads.
 *
 * A tq_parallel may share tasks out beforehand, as OpenMP's does, which fits tasks that are alike.
 * Sequences are not: float32 takes several times as long as 4 bits. So whoever runs a task here goes on
 * with the next that nobody has begun. */
#include "tasks.h"

#include <stdatomic.h>

typedef struct queue {
    atomic_size_t next;
    size_t n;
    void (*task)(void *work, size_t index);
    void *work;
} queue;

static void take_tasks(void *context, size_t index) {
    queue *q = context;
    (void)index;
    for (size_t i = atomic_fetch_add(&q->next, 1); i < q->n; i = atomic_fetch_add(&q->next, 1))
        q->task(q->work, i);
}

void lm_run(const tq_parallel *parallel, size_t n, void (*task)(void *work, size_t index), void *work) {
    if (parallel == NULL || n < 2) {
        for (size_t i = 0; i < n; i++)
            task(work, i);
        return;
    }
    queue q = {.n = n, .task = task, .work = work};
    atomic_init(&q.next, 0);
    parallel->run(parallel->context, n, take_tasks, &q);
}
