/* SPDX-License-Identifier: MIT
 * One forward pass over rows of one or several sequences. */
#ifndef LM_FORWARD_H
#define LM_FORWARD_H

#include "sequence.h"

/* Rows [steps][n_sequences][rows_each], a token each. A row of step i is rows_each * i positions further
 * than that of step 0, and attends when what comes before it is appended, as in a pass of its own. */
typedef struct lm_pass {
    const lm_model *model;
    const tq_parallel *parallel;
    const lm_watch *watch; /* NULL: none */
    lm_work *work;         /* with room for all rows */
    lm_sequence *const *sequences;
    size_t n_sequences, rows_each, steps;
    const uint32_t *tokens;
} lm_pass;

/* Appends to all sequences and leaves the last residual stream in work->x. On failure nothing was
 * appended where steps is 1; else the sequences are good for lm_sequence_free() alone. */
tq_status lm_forward(const lm_pass *pass);

/* Logits of n rows of work->x from `first` on: work->logits [n][vocab]. */
void lm_logits(const lm_pass *pass, size_t first, size_t n);

#endif
