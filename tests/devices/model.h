/* SPDX-License-Identifier: MIT
 * Attention in float64 on a scene's decoded vectors, and what a device may be off by. */
#ifndef TESTS_DEVICES_MODEL_H
#define TESTS_DEVICES_MODEL_H

#include "scene.h"

/* What query i of sequence b and head h comes to. */
typedef struct row {
    double *out;     /* [E] */
    double max, lse; /* natural; lse with its sink, unless the scene is left open */
    double terms;    /* sum of weight(t) |v(t)| */
    double reach;    /* S of attention.h */
    size_t seen;     /* positions */
    bool nan;        /* sees what is not finite, or has a score that float32 cannot hold */
    bool unsure;     /* a score is near what float32 can hold */
} row;

void model_attend(const scene *s, size_t b, size_t i, size_t h, row *r);

/* Whether query i of sequence b sees a position. */
bool model_sees(const scene *s, size_t b, size_t i, size_t position);

/* Of out, times sum of weight |v|; of lse and max, without the share of |lse|. */
double model_out_bound(const scene *s, const row *r);
double model_lse_bound(const scene *s, const row *r);

#endif
