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

/* Values of a task of the codec: 256 KiB of floats, long beside the cost of handing it out, short beside
 * a cache. */
enum { TQ_TASK_VALUES = 65536 };

/* Heads of rows, cut into n pieces of at most `size` rows of one head, which may be bundled to tasks.
 * What a piece is does not depend on the number of threads. */
typedef struct tq_pieces {
    size_t rows, size, per_head, n;
} tq_pieces;

typedef struct tq_piece {
    size_t head, first, rows;
} tq_piece;

static inline tq_pieces tq_cut(size_t heads, size_t rows, size_t size) {
    if (size == 0) size = 1;
    if (size > rows) size = rows;
    const size_t per_head = rows == 0 ? 0 : (rows - 1) / size + 1;
    return (tq_pieces){rows, size, per_head, heads * per_head};
}

static inline tq_piece tq_piece_at(const tq_pieces *p, size_t index) {
    const size_t first = index % p->per_head * p->size, left = p->rows - first;
    return (tq_piece){index / p->per_head, first, left < p->size ? left : p->size};
}

#endif
