/* SPDX-License-Identifier: MIT
 * The common part of keys, summed up in order. */
#ifndef TQ_CODEC_CENTRE_H
#define TQ_CODEC_CENTRE_H

#include "codec/rows.h"
#include "format/arrays.h"

typedef struct tq_mean {
    size_t dim, n;
    double sum[TQ_MAX_DIM], squares[TQ_MAX_DIM];
} tq_mean;

void tq_mean_add(tq_mean *mean, const float *x);

/* The mean in float16, or zeros where it has less than half of the mean square: values are at most
 * TQ_MAX_HALF. */
void tq_mean_round(const tq_mean *mean, const tq_kernels *kernels, uint16_t *centre);

#endif
