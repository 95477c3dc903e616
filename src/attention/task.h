/* SPDX-License-Identifier: MIT
 * A task: a block of rows that share a KV head, against a split of a sequence's positions. */
#ifndef TQ_ATTENTION_TASK_H
#define TQ_ATTENTION_TASK_H

#include "attention/batch.h"

typedef struct tq_attend_task {
    const tq_attend_batch *batch;
    const tq_attend_sequence *s;
    size_t head;        /* KV head */
    size_t row, rows;   /* of the sequence's rows */
    size_t first, last; /* of its positions */
    size_t split;
    const tq_codebook_tables *digits_of; /* whose digits the rows' queries are; NULL: of none yet */
    tq_view_offsets k_offsets, v_offsets;
    const uint16_t *centre;     /* whose products with the rows are in bias; NULL: of none */
    float bias[TQ_ATTEND_ROWS]; /* what the rows' scores lack */
    /* aligned: a vector that spans two cache lines costs twice */
    _Alignas(64) float scores[TQ_ATTEND_ROWS * TQ_ATTEND_CHUNK];
} tq_attend_task;

/* Scores, a running softmax and sums of values, to the partial rows of the task's split. */
void tq_attend_work(tq_attend_task *task);

#endif
