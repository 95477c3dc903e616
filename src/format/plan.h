/* SPDX-License-Identifier: MIT
 * A format at a head dimension: sizes, codebook, rotation. No kernel and no memory: any device reads it.
 */
#ifndef TQ_FORMAT_PLAN_H
#define TQ_FORMAT_PLAN_H

#include <stdbool.h>

#include "format/tables.h"
#include "tqkv/codec.h"

typedef struct tq_plan {
    bool v1;
    tq_norm_rule norm_rule; /* never TQ_NORM_DEFAULT */
    const tq_codebook_tables *book;
    tq_rotation rotation;
    size_t dim;
    size_t n_norms;     /* norms of a vector */
    size_t norm_bytes;  /* what they take: float16 in v2, float32 in v1 */
    size_t block;       /* coordinates that share a norm: dim / n_norms */
    size_t block_bytes; /* their codes */
    size_t row_bytes;   /* a vector's codes */
    float unit;         /* encoding: value / norm * unit has variance 1 */
    float norm_scale;   /* v2, and v1 with one norm: 1/sqrt(dim) */
} tq_plan;

/* Checks format and head dimension, fills what rows and codes need. */
tq_status tq_plan_init(tq_plan *plan, const tq_codec *codec);

/* Checks besides what only encoders and decoders look at. */
tq_status tq_plan_check_norm_rule(const tq_codec *codec);
tq_status tq_plan_check_scale_factor(const tq_plan *plan, float scale_factor);

/* The codebook of a format, or NULL; and the error to return then. */
const tq_codebook_tables *tq_find_codebook(tq_format format);
tq_status tq_fail_format(tq_format format);

#endif
