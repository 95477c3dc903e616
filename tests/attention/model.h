/* SPDX-License-Identifier: MIT
 * Attention in float64 on the decoded cache, and the distance of results from it. */
#ifndef TESTS_ATTENTION_MODEL_H
#define TESTS_ATTENTION_MODEL_H

#include "scene.h"

typedef struct model_row {
    double *out;  /* [D] */
    double terms; /* sum of weight * |v|, lengths of vectors */
    double max;   /* largest score, sink not counted; -INFINITY: nothing is seen */
    double lse;   /* natural logarithm of the sum of exp(score), sink included */
    double bound; /* E of tqkv/attention.h */
} model_row;

model_row model_row_new(size_t dim);
void model_row_free(model_row *m);

/* Query i of head h. */
void model_attend(const scene *s, size_t h, size_t i, model_row *m);

/* Largest errors seen: of out over the sum of weight * |v|, and of both as shares of what is promised. */
typedef struct worst {
    size_t cases, rows, unseen; /* unseen: rows to which nothing was visible */
    double out, out_share, lse_share;
} worst;

/* Fails unless all rows of out and lse (NULL: not looked at) keep the header's promise. */
void assert_attends(const scene *s, const float *out, const float *lse, worst *w);

/* The same for partial results, sinks not looked at. */
void assert_partial(const scene *s, const float *acc, const float *max, const float *sum, worst *w);

/* One line of a table; NULL prints its head. */
void worst_print(const char *group, const worst *w);

#endif
