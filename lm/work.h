/* SPDX-License-Identifier: MIT
 * Activations of a forward pass. */
#ifndef LM_WORK_H
#define LM_WORK_H

#include "model.h"

/* Arrays of `rows` rows, a multiple of LM_ROWS, each as wide as the widest layer wants it. Rows beyond
 * those of a pass hold what an earlier pass left, or zeros: numbers that nobody looks at. */
typedef struct lm_work {
    size_t rows;
    float *memory;
    float *x, *h;             /* [rows][d]: the residual stream; what a matrix reads or wrote */
    float *q, *k, *v, *y;     /* [rows][H*D], [rows][G*D] twice, [rows][H*D] */
    float *q_heads, *y_heads; /* [H][rows][D]: the same as attention wants them for several queries */
    float *gate, *up;         /* [rows][d_ff] */
    float *logits;            /* [rows][vocab] */
    float *rope;              /* [ropes][rows][D]: D/2 cosines, D/2 sines */
} lm_work;

/* Makes room for n rows. TQ_E_NO_MEMORY; *work is then what it was. */
tq_status lm_work_grow(lm_work *work, const lm_model *model, size_t n);
void lm_work_free(lm_work *work);

/* Where the angles of a rope and row are. */
float *lm_work_rope(const lm_work *work, const lm_model *model, size_t rope, size_t row);

#endif
