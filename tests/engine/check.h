/* SPDX-License-Identifier: MIT
 * Looks over an engine's shoulder: what its caches hold is what it was given, and what attention gives is
 * attention to that, in float64, within the bound of tqkv/attention.h. */
#ifndef TESTS_ENGINE_CHECK_H
#define TESTS_ENGINE_CHECK_H

#include <stdbool.h>

#include "engine.h"

/* All keys and values of a layer of a sequence, as they were given. */
typedef struct check_given {
    float *k, *v; /* [ENGINE_POSITIONS][G][D or E] */
} check_given;

typedef struct checker {
    bool compute; /* else outputs are only taken down */
    check_given given[ENGINE_SEQUENCES][ENGINE_LAYERS];
    uint8_t *log; /* outputs and logarithms of all steps, as they came */
    size_t n_log, log_room;
    size_t rows, tree_rows;      /* that were checked */
    double worst_out, worst_lse; /* errors as shares of what is promised */
} checker;

void checker_open(checker *c, bool compute);
void checker_close(checker *c);

/* For engine.watch, with a checker as its context. */
void checker_watch(void *context, const engine *e, size_t layer, const engine_work *work, size_t n_work);

/* What the engine is told besides. */
void checker_fork(checker *c, size_t from, size_t to);
void checker_accept(checker *c, const engine *e, size_t sequence, uint64_t begun, const size_t *path,
                    size_t n);

#endif
