/* SPDX-License-Identifier: MIT
 * Attention in float64, from its definition: what results are measured against. Sums are taken in the
 * order of keys and coordinates, whatever the block. */
#ifndef TQKV_MEASURE_EXACT_H
#define TQKV_MEASURE_EXACT_H

#include <stdbool.h>
#include <stddef.h>

/* Query i of n stands at position first_query + i, where key 0 stands at 0.
 *
 * Keys and values that age: what query i finds at positions below n_sinks, and from young_from[i] on, are
 * those of k_young and v_young; in between, those of k and v. */
typedef struct measure_exact {
    size_t n_heads, n_kv_heads, head_dim, n_queries, n_positions;
    size_t first_query;
    double scale;
    double softcap; /* 0: none */
    bool causal;
    size_t window;                  /* 0: none */
    const float *q;                 /* [H][n][D] */
    const float *k;                 /* [G][T][D] */
    const float *v;                 /* [G][T][D] */
    const float *k_young, *v_young; /* [G][T][D]; NULL: nothing ages */
    const size_t *young_from;       /* [n] */
    size_t n_sinks;
} measure_exact;

/* The KV head of query head h. */
size_t measure_exact_group(const measure_exact *x, size_t h);

/* Queries that are worked on together, and the most that head_dim may be. */
enum { MEASURE_EXACT_BLOCK = 32, MEASURE_EXACT_MAX_DIM = 1024 };

/* Scores [m][T] of queries first .. first + m - 1 of head h, m at most MEASURE_EXACT_BLOCK; -infinity
 * where the mask hides a key. */
void measure_exact_scores(const measure_exact *x, size_t h, size_t first, size_t m, double *scores);

/* Weights [n] of scores, summing to one; returns the log-sum-exp. Without a visible key: zeros, and
 * -infinity. weights may be scores. */
double measure_exact_softmax(const double *scores, size_t n, double *weights);

/* out [m][D]: sums of the values of head h at positions [from, from + n), each times its weight [m][T];
 * terms [m][D]: the same of their magnitudes, which is what rounding errors are measured in; NULL: not
 * wanted. first, m: of the queries, as above. A weight that is not above 0 counts as 0. */
void measure_exact_output(const measure_exact *x, size_t h, size_t first, size_t m, const double *weights,
                          size_t from, size_t n, double *out, double *terms);

/* All of that for query i of head h, over all positions. scratch [T]. */
void measure_exact_attend(const measure_exact *x, size_t h, size_t i, double *scratch, double *out,
                          double *terms);

/* The length of (got - want) over that of `measure`. */
double measure_exact_error(const float *got, const double *want, const double *measure, size_t n);

/* Length of a vector. */
double measure_exact_length(const double *vector, size_t n);
double measure_exact_float_length(const float *vector, size_t n);

/* sum of p log(p / e^score) over keys that p sees, less the log-sum-exp: the divergence from weights p
 * of the softmax of scores; infinite if that gives no weight to something that p does. */
double measure_exact_divergence(const double *p, const double *p_scores, double p_lse,
                                const double *scores, double lse, size_t n);

#endif
