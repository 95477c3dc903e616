/* SPDX-License-Identifier: MIT
 * Softmaxes of many logits, and how far one is from another, in double precision. */
#ifndef TQKV_MEASURE_SOFTMAX_H
#define TQKV_MEASURE_SOFTMAX_H

#include <stddef.h>

typedef struct measure_softmax {
    double log_sum; /* natural logarithm of the sum of exp(logits): log p of one is that logit less it */
    size_t top;     /* the likeliest, the lowest of equals */
} measure_softmax;

/* p [n] out: the probabilities. n above 0. */
measure_softmax measure_softmax_of(const float *logits, size_t n, double *p);

/* The softmax of logits [n], and in *kl the divergence of it from the reference's, whose p [n] and
 * softmax are known: sum of p (log p - log q), nats, within 1e-12. Exactly 0 for equal logits. */
measure_softmax measure_softmax_beside(const float *reference, const double *p, const measure_softmax *r,
                                       const float *logits, size_t n, double *kl);

#endif
