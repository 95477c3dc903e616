/* SPDX-License-Identifier: MIT
 * Independent tasks on a caller's threads. */
#ifndef LM_TASKS_H
#define LM_TASKS_H

#include "tqkv/codec.h"

/* Runs task(work, 0) to task(work, n - 1). parallel NULL: in order, here. */
void lm_run(const tq_parallel *parallel, size_t n, void (*task)(void *work, size_t index), void *work);

#endif
