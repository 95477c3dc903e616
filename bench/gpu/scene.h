/* SPDX-License-Identifier: MIT
 * The arrays of a row of attention on the device, several sets of them, and what attends to them. */
#ifndef TQKV_BENCH_GPU_SCENE_H
#define TQKV_BENCH_GPU_SCENE_H

#include "attend.h"

typedef struct scene {
    const attend_row *row;
    size_t page_rows, pages; /* of a sequence */
    size_t stretches;        /* of a sequence */
    size_t first;            /* position of slot 0 */
    int paged;
    int32_t *lengths, *coded, *table, *centre_table; /* host; the device's copies are in the batches */
    float *sinks;                                    /* host: extra logits */
    uint16_t *q;                                     /* host */
    size_t n_q;

    size_t sets;
    tq_view k[MOST_SETS], v[MOST_SETS];
    tq_cuda_attention_batch batch[MOST_SETS];
    size_t bytes; /* codes and norms that a run reads */
    tq_cuda_attention *plan;
    void *workspace;
    size_t workspace_bytes;
} scene;

/* What the row's layer is. */
tq_cuda_attention_config scene_config(const attend_row *row);

/* Not 0 on success. s has been reset. */
int scene_open(scene *c, stage *s, const attend_row *row, int paged);
void scene_close(scene *c);

size_t scene_row_bytes(tq_format format, uint32_t dim);

/* What set 0 gave to one head's last queries of one sequence against tq_attention() on the same bytes:
 * the length of the difference over the length of what is right; NaN where that could not be told. */
double scene_error(const scene *c);

#endif
